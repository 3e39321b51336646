// Tasks side by side: parameters, results, curves, and a parameter against a metric.
import {details, el, section, status, table, taskLink} from "./dom.js";
import {duration, isLive, isMachine, metricsOf, number, when} from "./text.js";
import {read} from "./server.js";
import {chart} from "./chart.js";
import {choose} from "./listing.js";
import {curveChoices, curveControls, curves, keyOf} from "./scalars.js";

const MOST = 20;

export async function compareView(ids, refresh) {
  document.title = "Compare";
  const {tasks: found} = await read("tasks.get_all", {id: ids.slice(0, MOST),
    search_hidden: true, only_fields: ["-script.diff", "-script.requirements"]});
  const tasks = ids.map(id => found.find(task => task.id === id)).filter(Boolean);
  if (!tasks.length) throw new Error("None of these tasks exists.");
  section("#compare", {tasks}, () => [el("h1", `${tasks.length} tasks`), sideBySide(tasks, [
    ["Status", task => status(task.status), task => task.status],
    ["Started", task => when(task.started)], ["Took", duration],
    ["Commit", task => task.script?.version_num ?? ""],
    ["Script", task => task.script?.entry_point ?? ""],
    ["Tags", task => (task.tags ?? []).join(", ")]], false)]);
  const only = new URLSearchParams(location.search).has("differences");
  section("Parameters", {tasks, only}, () => [
    el("p.bar", el("label", el("input", {type: "checkbox", checked: only ? "" : false,
      "data-key": "differences", change: event => {
        choose({differences: event.target.checked || null});
        refresh();
      }}), "differences only")),
    sideBySide(tasks, parameterRows(tasks), only)]);
  section("Results", {tasks}, () => sideBySide(tasks, metricRows(tasks), false));
  section("Parameter and metric", {tasks, chosen: scatterChoice(tasks)}, () =>
    scatter(tasks, scatterChoice(tasks), refresh));
  const chosen = curveChoices();
  const {metrics: scalars} = await read("events.multi_task_scalar_metrics_iter_histogram",
    {tasks: tasks.map(task => task.id), samples: 500, key: keyOf(chosen)});
  const metrics = Object.entries(scalars).filter(([metric]) => !isMachine(metric))
    .flatMap(([metric, variants]) => Object.entries(variants).map(([variant, byTask]) =>
      [`${metric} · ${variant}`, tasks.filter(task => byTask[task.id])
        .map(task => ({...byTask[task.id], name: label(task, tasks)}))]));
  section("Curves", {metrics, chosen}, () => metrics.length
    && [curveControls(refresh), curves(metrics, chosen)]);
  section("Configuration", {tasks}, () => configurations(tasks));
  return tasks.some(isLive);
}

/** Names of tasks are often the same; then part of the id tells them apart. */
const label = (task, tasks) => tasks.filter(one => one.name === task.name).length > 1
  ? `${task.name} ${task.id.slice(0, 6)}` : task.name;

/** Rows [title, task => content, task => what to compare]; those that differ are marked. */
function sideBySide(tasks, rows, onlyDifferences) {
  const differs = ([, show, compared = show]) =>
    new Set(tasks.map(task => String(compared(task) ?? ""))).size > 1;
  const shown = onlyDifferences ? rows.filter(differs) : rows;
  if (!shown.length) return el("p", "No differences.");
  return table([["", ".name", ([title]) => title], ...tasks.map((task, place) =>
    [taskLink(task, label(task, tasks)), ".value", row => row[1](task, place)])],
  shown, row => differs(row) ? {class: "differs"} : null);
}

const parameters = task => Object.fromEntries(Object.entries(task.hyperparams ?? {})
  .flatMap(([group, items]) => Object.values(items)
    .map(item => [`${group}/${item.name}`, item.value])));

function parameterRows(tasks) {
  const all = tasks.map(parameters);
  const names = [...new Set(all.flatMap(Object.keys))].sort();
  return names.map(name => [name, task => all[tasks.indexOf(task)][name] ?? "–"]);
}

const metricName = last => `${last.metric} / ${last.variant}`;
const valueOf = (task, name) =>
  metricsOf(task).find(last => metricName(last) === name)?.value;
const metricNames = tasks => [...new Set(tasks.flatMap(metricsOf)
  .filter(last => !isMachine(last.metric)).map(metricName))].sort();
const metricRows = tasks => metricNames(tasks).map(name =>
  [name, task => number(valueOf(task, name))]);

function scatterChoice(tasks) {
  const query = new URLSearchParams(location.search);
  const numeric = [...new Set(tasks.flatMap(task => Object.entries(parameters(task))
    .filter(([, value]) => value !== "" && Number.isFinite(Number(value)))
    .map(([name]) => name)))].sort();
  const metrics = metricNames(tasks);
  const varied = numeric.find(name =>
    new Set(tasks.map(task => parameters(task)[name])).size > 1);
  return {numeric, metrics, x: query.get("x") ?? varied ?? numeric[0],
    y: query.get("y") ?? metrics[0]};
}

function scatter(tasks, {numeric, metrics, x, y}, refresh) {
  if (!numeric.length || !metrics.length) return null;
  const select = (name, options, chosen) => el("select", {"aria-label": name,
    "data-key": `scatter ${name}`, change: event => {
      choose({[name]: event.target.value});
      refresh();
    }}, options.map(one => el("option", {selected: one === chosen ? "" : false}, one)));
  const series = tasks.map(task => ({name: label(task, tasks), points: true,
    x: [Number(parameters(task)[x])], y: [valueOf(task, y)]}))
    .filter(one => Number.isFinite(one.x[0]) && Number.isFinite(one.y[0]));
  return [el("p.bar", el("label", "Parameter", select("x", numeric, x)),
    el("label", "Metric", select("y", metrics, y))),
  el("figure.card", chart(series, {xTitle: x, yTitle: y}))];
}

function configurations(tasks) {
  const names = [...new Set(tasks.flatMap(task => Object.keys(task.configuration ?? {})))];
  return names.map(name => details(name, false, el("div.cards", tasks.map(task =>
    el("div.card", el("h3", label(task, tasks)),
      el("pre", String(task.configuration?.[name]?.value ?? "–").slice(0, 100000)))))));
}
