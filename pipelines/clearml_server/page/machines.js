// Queues and agents, as they are now.
import {el, link, section, table, taskLink} from "./dom.js";
import {ago, number, size} from "./text.js";
import {read} from "./server.js";

export async function machinesView() {
  document.title = "Queues and agents";
  const [{queues}, {workers}] = await Promise.all([
    read("queues.get_all_ex", {search_hidden: true}), read("workers.get_all")]);
  section("Queues", queues, list => table([
    ["Queue", ".name", queue => queue.name],
    ["Waiting", ".number", queue => queue.entries?.length ?? 0],
    ["Next", "", queue => (queue.entries ?? []).slice(0, 5).map(entry =>
      el("div", taskLink(entry.task), el("span.faint", ` ${ago(entry.added)}`)))],
    ["Agents", "", queue => queue.workers.map(one => el("div", one.name))],
  ], list));
  section("Agents", {workers}, () => workers.length ? table([
    ["Agent", ".name", worker => worker.id],
    ["Task", "", worker => worker.task ? taskLink(worker.task) : "none"],
    ["Queues", "", worker => worker.queues.map(queue => el("div", queue.name))],
    ["Heard of", ".short", worker => ago(worker.last_activity_time)],
    ["Processor", ".number", ({machine_stats: stats}) => share(stats?.cpu_usage)],
    ["Memory in use", ".number", ({machine_stats: stats}) =>
      size(stats?.memory_used === undefined ? undefined : stats.memory_used * 1e6)],
  ], workers) : el("p", "No agent listens. ", link("https://clear.ml/docs/latest/docs/" +
    "clearml_agent", "clearml-agent"), " takes tasks from queues; scripts/agents starts two."));
  return true;
}

function share(values) {
  const found = [values ?? []].flat();
  return found.length ? `${number(found.reduce((a, b) => a + b) / found.length)} %` : "–";
}
