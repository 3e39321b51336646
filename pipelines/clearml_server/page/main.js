// Which view the address asks for, and keeping it up to date.
import {compareView} from "./compare.js";
import {datasetsView, modelsView, pipelinesView, tasksView} from "./lists.js";
import {loginView, showWho} from "./login.js";
import {machinesView} from "./machines.js";
import {modelView} from "./model.js";
import {taskView} from "./task.js";

const QUICK = 3000, SLOW = 15000;  // ms between two looks at the server

function chosenView(path) {
  const part = pattern => pattern.exec(path)?.[1];
  let id;
  if ((id = part(/\/compare-(?:tasks|experiments);ids=([^/]+)/)))
    return () => compareView(id.split(","), refresh);
  if ((id = part(/\/(?:tasks|experiments)\/([^/]+)/)))
    return () => taskView(id, refresh, tell);
  if ((id = part(/\/models\/([^/]+)/))) return () => modelView(id, refresh, tell);
  if (/^\/login/.test(path)) return loginView;
  if (/^\/(workers-and-queues|queues|workers)/.test(path)) return machinesView;
  if (/^\/models/.test(path)) return () => modelsView(refresh, tell);
  if (/^\/datasets/.test(path)) return () => datasetsView(refresh, tell);
  if ((id = part(/^\/(?:projects|pipelines)\/([^/*]+)/)))
    return () => tasksView(id, refresh, tell);
  if (/^\/pipelines/.test(path)) return () => pipelinesView(refresh, tell);
  return () => tasksView(null, refresh, tell);
}

const notice = document.getElementById("notice");
let timer = 0;

/** Tell something that went wrong; it stays for a while. */
function tell(message) {
  notice.textContent = message;
  notice.hidden = false;
  notice.dataset.until = Date.now() + 10000;
}

async function refresh() {
  clearTimeout(timer);
  let pause = SLOW;
  try {
    if (!document.hidden && await view()) pause = QUICK;
    if (!(Number(notice.dataset.until) > Date.now())) notice.hidden = true;
  } catch (error) {
    tell(error.message);
    notice.dataset.until = 0;
  }
  showWho();
  clearTimeout(timer);
  timer = setTimeout(refresh, pause);
}

const view = chosenView(decodeURIComponent(location.pathname));
for (const anchor of document.querySelectorAll("header nav a"))
  if (anchor.pathname === location.pathname) anchor.setAttribute("aria-current", "page");
document.addEventListener("visibilitychange", refresh);
refresh();
