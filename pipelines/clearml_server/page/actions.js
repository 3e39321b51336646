// What somebody who logged in can do to tasks and models.
import {ask, el, fields} from "./dom.js";
import {call, callMany, mayAct, read} from "./server.js";

const ids = rows => rows.map(row => row.id);
const names = rows => rows.length === 1 ? rows[0].name : `${rows.length} items`;

/** Wrap an act: refresh after it, and tell what was refused. */
export const acting = (refresh, tell) => act => async (...input) => {
  try {
    if (await act(...input) !== null) await refresh();
  } catch (error) {
    tell(error.message);
  }
};

async function chooseQueue() {
  const {queues} = await read("queues.get_all_ex", {only_fields: ["id", "name"]});
  const options = queues.map(queue => el("option", {value: queue.id}, queue.name));
  return ask("Enqueue", el("p", el("label", "Queue ",
    el("select", {name: "queue"}, options))), {confirm: "Enqueue"});
}

export async function enqueue(rows) {
  const chosen = await chooseQueue();
  return chosen && callMany("tasks.enqueue_many", {ids: ids(rows), queue: chosen.queue});
}

export async function clone(rows) {
  const [task] = rows;
  const chosen = await ask("Clone", fields([["name", "Name", `Clone of ${task.name}`]]),
    {confirm: "Clone"});
  if (!chosen) return null;
  const {id} = await call("tasks.clone", {task: task.id, new_task_name: chosen.name});
  location.assign(`/projects/*/tasks/${id}`);
  return null;
}

export const abort = rows => callMany("tasks.stop_many",
  {ids: ids(rows), include_pipeline_steps: true});

export async function reset(rows) {
  const sure = await ask(`Reset ${names(rows)}?`, el("p",
    "Its results go: scalars, plots, artifacts and models that are not published."),
  {confirm: "Reset", danger: true});
  return sure && callMany("tasks.reset_many", {ids: ids(rows)});
}

export async function remove(rows, kind = "tasks") {
  const sure = await ask(`Delete ${names(rows)}?`, el("p",
    "With all files of it that this server keeps. This cannot be undone."),
  {confirm: "Delete", danger: true});
  return sure && callMany(`${kind}.delete_many`, {ids: ids(rows), force: true,
    ...(kind === "tasks" ? {include_pipeline_steps: true} : {})});
}

export const archive = (rows, kind = "tasks") =>
  callMany(`${kind}.archive_many`, {ids: ids(rows)});
export const unarchive = (rows, kind = "tasks") =>
  callMany(`${kind}.unarchive_many`, {ids: ids(rows)});

export async function tag(rows, kind = "tasks") {
  const chosen = await ask("Tags", fields([["add", "Add", ""], ["remove", "Remove", ""]]),
    {confirm: "Change"});
  if (!chosen) return null;
  const list = text => text.split(",").map(one => one.trim()).filter(Boolean);
  return callMany(`${kind}.update_tags`, {ids: ids(rows), add_tags: list(chosen.add),
    remove_tags: list(chosen.remove)});
}

export async function newRun([task]) {
  const args = Object.values(task.hyperparams?.Args ?? {});
  const chosen = await ask(`New run of ${task.name}`, args.length
    ? fields(args.map(item => [item.name, item.name, item.value]))
    : el("p", "It has no arguments."), {confirm: "Start"});
  if (!chosen) return null;
  const {pipeline} = await call("pipelines.start_pipeline", {task: task.id,
    args: Object.entries(chosen).map(([name, value]) => ({name, value}))});
  location.assign(`/projects/*/tasks/${pipeline}`);
  return null;
}

/** The acts on rows of a table of `kind`, as Listing takes them. */
export function actsOn(kind, refresh, tell) {
  if (!mayAct()) return [];
  const doing = acting(refresh, tell);
  const make = (title, act, more = {}) => ({title, ...more, act: doing(async (rows, done) => {
    const result = await act(rows, kind);
    if (result !== null) done();
    return result;
  })});
  return [
    ...(kind === "tasks" ? [make("Enqueue", enqueue), make("Abort", abort)] : []),
    make("Tag", tag), make("Archive", archive), make("Delete", remove, {danger: true})];
}
