// One task: what it is, what it reported, and what can be done with it.
import {action, details, el, facts, link, projectLink, section, status, table, tags, taskLink}
  from "./dom.js";
import {duration, isLive, isMachine, number, singleValues, size, when} from "./text.js";
import {call, mayAct, parse, projectNames, read} from "./server.js";
import {picture, plotCard} from "./figures.js";
import {graph} from "./graph.js";
import {curveChoices, curveControls, curves, keyOf} from "./scalars.js";
import {modelsSection, setNames, tasksWhere} from "./lists.js";
import * as act from "./actions.js";

const SAMPLES = 1000, IMAGE_ITERATIONS = 50;
let lines = 300;  // of the console

export async function taskView(id, refresh, tell) {
  const [{tasks: [task]}, names] = await Promise.all([
    read("tasks.get_all", {id: [id], search_hidden: true, only_fields: ["-script.diff",
      "-script.requirements"]}), projectNames()]);
  if (!task) throw new Error(`There is no task ${id}.`);
  document.title = task.name;
  setNames(names);
  const chosen = curveChoices();
  const [scalars, {plots}, images, log, parents] = await Promise.all([
    read("events.scalar_metrics_iter_histogram",
      {task: id, samples: SAMPLES, key: keyOf(chosen)}),
    read("events.get_task_plots", {task: id}),
    read("events.debug_images", {metrics: [{task: id}], iters: IMAGE_ITERATIONS}),
    read("events.get_task_log", {task: id, batch_size: lines, order: "asc"}),
    task.parent ? tasksWhere({id: [task.parent]}) : []]);
  section("#task", {task, parents, acts: mayAct(), now: isLive(task) && Date.now()}, () => [
    el("h1", task.name), el("p", status(task.status), " ", tags(task.tags)),
    mayAct() && acts(task, act.acting(refresh, tell)), about(task, parents, names)]);
  const hasSteps = await stepsSection(task);
  lineageSection(task);
  section("Single values", singleValues(task), list => el("div.values",
    list.map(last => el("div.card", last.variant, el("b", number(last.value))))));
  const metrics = Object.entries(scalars)
    .map(([metric, variants]) => [metric, Object.values(variants)]);
  const reported = metrics.filter(([metric]) => !isMachine(metric));
  section("Scalars", reported.length && {reported, chosen}, () =>
    [curveControls(refresh), curves(reported, chosen)]);
  // what datasets and pipelines draw of themselves is told above
  const own = hasSteps ? /^(__|Pipeline)/ : /^__/;
  section("Plots", plots.filter(plot => !own.test(plot.metric)),
    list => el("div.cards", list.map(plotCard)));
  section("Images", images.metrics.flatMap(one => one.iterations), imagesByIteration);
  section("Artifacts", task.execution?.artifacts, artifacts);
  const roles = Object.fromEntries(["input", "output"].flatMap(kind =>
    (task.models?.[kind] ?? []).map(entry => [entry.model, kind])));
  await modelsSection({id: Object.keys(roles)}, roles);
  parametersSection(task, refresh, tell);
  section("Configuration", task.configuration, items => Object.entries(items).map(
    ([name, item]) => details(name, false,
      el("pre", String(item.value).slice(0, 200000)))));
  section("Machine", metrics.filter(([metric]) => isMachine(metric)), list =>
    details("load, memory, network", false, curves(list, {...chosen, range: []})));
  section("Console", log.events.length && {log}, () => consoleParts(log, refresh));
  return isLive(task);
}

function about(task, parents, names) {
  const {runtime = {}, script = {}} = task;
  return facts({
    Project: projectLink(task.project, names), "Part of": parents.map(t => taskLink(t)),
    Type: (task.type ?? "").replaceAll("_", " "), Started: when(task.started),
    Took: duration(task), Iterations: task.last_iteration && String(task.last_iteration),
    Message: isLive(task) ? null : task.status_message, Comment: task.comment,
    Version: runtime.version,
    Files: "ds_file_count" in runtime && number(runtime.ds_file_count),
    Size: "ds_total_size" in runtime && size(runtime.ds_total_size),
    Script: script.entry_point, Repository: script.repository,
    Commit: script.version_num && el("span.mono", script.version_num),
    Worker: task.last_worker, Id: el("span.mono", task.id)});
}

function acts(task, doing) {
  const on = (title, what) => action(title, doing(() => what([task])));
  const {status: state} = task;
  const archived = task.system_tags?.includes("archived");
  return el("p.bar",
    on("Clone", act.clone),
    task.type === "controller" && on("New run", act.newRun),
    ["created", "stopped", "failed"].includes(state) && on("Enqueue", act.enqueue),
    isLive(task) && on("Abort", act.abort),
    state !== "created" && state !== "published" && on("Reset", act.reset),
    on("Tag", act.tag),
    archived ? on("Restore", act.unarchive) : on("Archive", act.archive),
    on("Delete", act.remove));
}

function imagesByIteration(iterations) {
  const sorted = [...new Set(iterations.map(one => one.iter))].sort((a, b) => a - b);
  const cards = el("div.cards"), label = el("output");
  const show = place => {
    label.textContent = `iteration ${sorted[place]}`;
    cards.replaceChildren(...iterations.filter(one => one.iter === sorted[place])
      .flatMap(one => one.events).map(image => el("figure.card",
        el("h3", [image.metric, image.variant].filter(Boolean).join(" · ")),
        picture(image.url), el("p.faint", `iteration ${image.iter}`))));
  };
  const slider = el("input", {type: "range", min: 0, max: sorted.length - 1,
    value: sorted.length - 1, "aria-label": "iteration of the images",
    input: event => show(Number(event.target.value))});
  show(sorted.length - 1);
  return sorted.length > 1 ? [el("p.bar", slider, label), cards] : [cards];
}

const artifacts = list => table([
  ["Artifact", ".name", one => link(one.uri, one.key)], ["Type", "", one => one.type],
  ["Size", ".number", one => size(one.content_size)],
  ["Preview", ".value", one => one.type_data?.preview && details("show", false,
    el("pre", one.type_data.preview.slice(0, 20000)))],
], list);

/** Parameters; those of a draft can be changed by whoever logged in. */
function parametersSection(task, refresh, tell) {
  const editable = task.status === "created" && mayAct();
  section("Parameters", task.hyperparams && Object.keys(task.hyperparams).length
    && {items: task.hyperparams, editable}, ({items}) => {
    const groups = Object.entries(items).map(([group, found]) => details(group, true, table([
      ["Name", ".key", item => [item.name, item.description && item.description !== "None"
        ? el("div.faint", item.description) : null]],
      ["Value", ".value", item => editable ? el("input", {name: `${group}\n${item.name}`,
        value: item.value ?? "", "aria-label": `${group} ${item.name}`}) : item.value],
      ["Type", "", item => item.type]], Object.values(found))));
    if (!editable) return groups;
    const save = act.acting(refresh, tell)(form => call("tasks.edit_hyper_params", {
      task: task.id, replace_hyperparams: "none",
      hyperparams: [...new FormData(form)].map(([key, value]) => {
        const [group, name] = key.split("\n");
        return {...items[group][name], section: group, name, value};
      })}));
    return el("form", {submit: event => { event.preventDefault(); save(event.target); }},
      groups, el("p.bar", el("button.act", "Save")));
  });
}

async function stepsSection(task) {
  const plan = task.system_tags?.includes("pipeline") && task.configuration?.Pipeline?.value;
  const steps = Object.entries(plan ? parse(plan) : {});
  const idOf = step => step.job_id ?? step.executed;
  const ids = steps.map(([, step]) => idOf(step)).filter(Boolean);
  const runs = ids.length ? await tasksWhere({id: ids}) : [];
  const list = steps.map(([name, step]) => ({name, after: step.parents ?? [],
    state: step.status, run: runs.find(run => run.id === idOf(step))}));
  const stateOf = step => step.run?.status ?? step.state ?? "pending";
  const live = list.some(step => step.run && isLive(step.run));
  section("Steps", list.length && {list, now: live && Date.now()}, () => [
    graph(list.map(step => ({id: step.name, title: step.name, state: stateOf(step),
      sub: `${stateOf(step).replaceAll("_", " ")}${
        step.run ? `, ${duration(step.run)}` : ""}`,
      href: step.run && taskLink(step.run).href, parents: step.after})), "steps as a graph"),
    table([
      ["Step", ".name", step => step.run ? taskLink(step.run, step.name) : step.name],
      ["Status", "", step => status(stateOf(step))],
      ["Took", ".short", step => step.run ? duration(step.run) : "–"],
      ["After", "", step => step.after.join(", ")],
      ["Results", "", step => step.run && singleValues(step.run).slice(0, 4).map(last =>
        el("div.short", el("span.faint", `${last.variant} `), number(last.value)))],
    ], list)]);
  return list.length > 0;
}

/** The versions that a dataset was made from. */
function lineageSection(task) {
  const kept = task.system_tags?.includes("dataset")
    && task.configuration?.["Dataset Struct"]?.value;
  const versions = Object.entries(kept ? parse(kept) : {});
  section("Lineage", versions.length > 1 && {versions}, () => graph(
    versions.map(([key, one]) => ({id: key, title: one.name ?? one.job_id ?? key,
      sub: `${one.version ? `version ${one.version}, ` : ""}${one.status ?? ""}`,
      state: one.job_id === task.id ? task.status : one.status,
      href: one.job_id && taskLink({id: one.job_id}).href,
      parents: (one.parents ?? []).map(String)})), "versions as a graph"));
}

function consoleParts(log, refresh) {
  const text = log.events.map(event => event.msg ?? "").join("\n")
    .replace(/\x1b\[[\d;?]*[A-Za-z]/g, "")  // colours
    .replace(/\r\n/g, "\n").replace(/[^\n]*\r(?=[^\n])/g, "");  // bars that were redrawn
  const output = el("pre", {tabindex: 0}, text.replace(/\n{2,}/g, "\n"));
  requestAnimationFrame(() => { output.scrollTop = output.scrollHeight; });
  const whole = action("Show more", () => { lines = 10000; refresh(); });
  return [output, el("p.faint", `${log.returned} of ${log.total} entries  `,
    log.returned < log.total && lines < 10000 && whole)];
}
