// The pages that are tables: tasks, pipelines, datasets, models.
import {el, link, modelLink, projectLink, section, status, table, tags, taskLink}
  from "./dom.js";
import {duration, fileName, isLive, number, singleValues, size, when} from "./text.js";
import {projectNames, read} from "./server.js";
import {Listing} from "./listing.js";
import {actsOn} from "./actions.js";

const ROW = ["id", "name", "type", "status", "project", "started", "completed", "created",
  "tags", "system_tags", "last_metrics", "runtime", "hyperparams", "last_worker"];
export const tasksWhere = async request => (await read("tasks.get_all",
  {only_fields: ROW, search_hidden: true, ...request})).tasks;
const page = only => async request => {
  const {tasks, total} = await read("tasks.get_all",
    {only_fields: ROW, search_hidden: true, ...request});
  if (only) for (const task of tasks) delete task.hyperparams;
  return {rows: tasks, total};
};

const results = task => singleValues(task).slice(0, 4).map(last =>
  el("div.short", el("span.faint", `${last.variant} `), number(last.value)));
let names = {};

const taskColumns = [
  {key: "name", title: "Task", kind: ".name", sort: "name", show: task => [taskLink(task),
    el("div.faint", projectLink(task.project, names),
      ` ${(task.type ?? "").replaceAll("_", " ")}`)]},
  {key: "status", title: "Status", sort: "status", show: task => status(task.status)},
  {key: "started", title: "Started", kind: ".short", sort: "started",
    show: task => when(task.started)},
  {key: "took", title: "Took", kind: ".short", sort: "active_duration", show: duration},
  {key: "results", title: "Results", show: results},
  {key: "tags", title: "Tags", show: task => tags(task.tags)},
  {key: "created", title: "Created", kind: ".short", off: true, sort: "created",
    show: task => when(task.created)},
  {key: "worker", title: "Worker", kind: ".short", off: true, sort: "last_worker",
    show: task => task.last_worker ?? "–"},
  {key: "id", title: "Id", kind: ".mono", off: true, show: task => task.id},
];

const compare = {title: "Compare", least: 2, act: rows =>
  location.assign(`/projects/*/compare-tasks;ids=${rows.map(row => row.id).join(",")}`)};

let listing = null;
const started = (make, refresh) => listing ??= new Listing(make(refresh));

export async function tasksView(project, refresh, tell) {
  names = await projectNames();
  started(() => ({title: project ? "Tasks" : "Recent tasks", columns: taskColumns,
    fetch: page(false), searched: ["name", "comment", "id", "tags"], statuses: true,
    facets: true, acts: () => [compare, ...actsOn("tasks", refresh, tell)],
    empty: "No tasks yet. They appear here as programs make them."}), refresh);
  if (project) {
    document.title = names[project] ?? "no such project";
    section("#project", document.title, name => el("h1", name));
  } else await projectsSection();
  const fixed = {system_tags: ["__$all", "__$not", "archived", "__$not", "dataset"],
    ...(project ? {project: [project], include_subprojects: true} : {})};
  const tasks = await listing.show(fixed, refresh, names);
  if (project) await modelsSection({project: [project]});
  return tasks.some(isLive);
}

async function projectsSection() {
  const {projects} = await read("projects.get_all",
    {include_stats: true, stats_for_state: "active", order_by: ["-last_update"]});
  const rows = projects.map(({id, name, stats}) => ({id, name, stats: stats.active}));
  section("Projects", rows, list => table([
    ["Project", ".name", one => projectLink(one.id, names)],
    ["Tasks", ".number", one => one.stats.total_tasks],
    ["", "", one => Object.entries(one.stats.status_count).filter(([, count]) => count)
      .map(([name, count]) => [status(name), ` ${count} `])],
  ], list));
}

export async function pipelinesView(refresh, tell) {
  document.title = "Pipelines";
  names = await projectNames();
  started(() => ({title: "Pipelines", columns: taskColumns, fetch: page(false),
    searched: ["name", "comment", "id", "tags"], statuses: true, facets: true,
    acts: () => [compare, ...actsOn("tasks", refresh, tell)],
    empty: "No pipelines yet."}), refresh);
  const fixed = {system_tags: ["__$all", "pipeline", "__$not", "archived"]};
  return (await listing.show(fixed, refresh, names)).some(isLive);
}

const datasetColumns = [
  {key: "name", title: "Dataset", kind: ".name", sort: "name", show: set => [taskLink(set),
    el("div.faint", names[set.project]?.replace(/\/[^/]*$/, ""))]},
  {key: "version", title: "Version", sort: "runtime.version",
    show: set => set.runtime?.version},
  {key: "files", title: "Files", kind: ".number", sort: "runtime.ds_file_count",
    show: set => number(set.runtime?.ds_file_count)},
  {key: "size", title: "Size", kind: ".number", sort: "runtime.ds_total_size",
    show: set => size(set.runtime?.ds_total_size)},
  {key: "status", title: "Status", sort: "status", show: set => status(set.status)},
  {key: "created", title: "Created", kind: ".short", sort: "created",
    show: set => when(set.created)},
  {key: "tags", title: "Tags", show: set => tags(set.tags)},
];

export async function datasetsView(refresh, tell) {
  document.title = "Datasets";
  names = await projectNames();
  started(() => ({title: "Datasets", columns: datasetColumns, fetch: page(true),
    searched: ["name", "comment", "id", "tags"], statuses: true,
    acts: () => actsOn("tasks", refresh, tell)
      .filter(({title}) => title !== "Enqueue" && title !== "Abort"),
    empty: "No datasets yet."}), refresh);
  const fixed = {system_tags: ["__$all", "dataset", "__$not", "archived"]};
  return (await listing.show(fixed, refresh, names)).some(isLive);
}

const MODEL_ROW = ["id", "name", "project", "task", "framework", "ready", "created",
  "tags", "uri"];
let makers = {};
const modelColumns = [
  {key: "name", title: "Model", kind: ".name", sort: "name", show: model =>
    [modelLink(model), el("div.faint", names[model.project])]},
  {key: "framework", title: "Framework", sort: "framework", show: model => model.framework},
  {key: "task", title: "Task", show: model =>
    makers[model.task] && taskLink(makers[model.task])},
  {key: "published", title: "Published", sort: "ready",
    show: model => model.ready ? status("published") : "no"},
  {key: "created", title: "Created", kind: ".short", sort: "created",
    show: model => when(model.created)},
  {key: "file", title: "File", show: model => link(model.uri, fileName(model.uri))},
  {key: "tags", title: "Tags", show: model => tags(model.tags)},
];

async function fetchModels(request) {
  const {models, total} = await read("models.get_all",
    {only_fields: MODEL_ROW, search_hidden: true, ...request});
  const ids = [...new Set(models.map(model => model.task).filter(Boolean))];
  const tasks = ids.length ? await tasksWhere({id: ids,
    only_fields: ["id", "name", "project"]}) : [];
  makers = Object.fromEntries(tasks.map(task => [task.id, task]));
  return {rows: models, total};
}

export async function modelsView(refresh, tell) {
  document.title = "Models";
  names = await projectNames();
  started(() => ({title: "Models", columns: modelColumns, fetch: fetchModels,
    searched: ["name", "comment", "id", "tags", "uri"],
    acts: () => actsOn("models", refresh, tell), empty: "No models yet."}), refresh);
  await listing.show({system_tags: ["-archived"]}, refresh, names);
  return false;
}

/** A plain table of some models; `roles` says what each of them is to a task. */
export async function modelsSection(where, roles = {}) {
  if (where.id?.length === 0) return;
  const {rows} = await fetchModels({...where, system_tags: ["-archived"],
    order_by: ["-created"]});
  section("Models", {rows, roles, makers}, () => rows.length && table(
    modelColumns.map(({title, kind = "", show}) => [title, kind, row => title === "Model"
      && roles[row.id] ? [modelLink(row), el("div.faint", roles[row.id])] : show(row)]),
    rows));
}

export const setNames = found => { names = found; };
