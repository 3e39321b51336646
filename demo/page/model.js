// The tab Model: which model answers, how good it is, and how its server does.
import { $, make, percent } from "./dom.js";

const EVERY_MS = 5000;
let timer = null;

export function leaveModel() {
  clearInterval(timer);
  timer = null;
}

export async function showModel() {
  timer ??= setInterval(showModel, EVERY_MS);
  let found;
  try {
    found = await (await fetch("/model")).json();
  } catch {
    found = { error: "the page's own server is away" };
  }
  if (timer === null) return;
  if (found.error) {
    $("facts").replaceChildren(make("p", { class: "error", role: "status" }, found.error));
    return;
  }
  if ($("facts").contains(document.activeElement)) return; // somebody types or reads there
  $("facts").replaceChildren(...parts(found));
}

function parts(found) {
  const { parameters, evaluation } = found;
  return [
    facts("This model", [
      ["name", found.model.name],
      ["version", found.model.version],
      ["kind", parameters.model],
      ["training task", linked(parameters.task_id, found.links.task_id)],
      ["dataset", linked(parameters.dataset_id, found.links.dataset_id)],
      ["accuracy on the test set", share(evaluation?.overall?.accuracy ?? parameters.accuracy)],
      ...strangers(evaluation),
      ["classes", `${found.classes.length}: ${found.classes.join(" ")}`],
      ["answers", found.outputs.join(", ")],
      ["preprocessing", record(found.preprocessing)],
    ]),
    statistics(found.statistics),
    letters(found.letters),
    perClass(evaluation?.per_class),
    matrix(evaluation?.confusion),
    versions(found),
  ].filter(Boolean);
}

const share = (value) => (value === undefined || value === "" ? undefined : percent(Number(value)));
const linked = (id, address) =>
  id && address ? make("a", { href: address, rel: "noreferrer" }, id) : id;
const record = (kept) => kept && Object.entries(kept).map(([key, value]) => `${key} ${value}`).join(", ");

function strangers(evaluation) {
  const slices = evaluation?.slices ?? {};
  return Object.entries(slices)
    .filter(([, one]) => typeof one?.accuracy === "number")
    .map(([name, one]) => [`accuracy on ${name}`, share(one.accuracy)]);
}

function facts(caption, rows) {
  const body = make("tbody");
  for (const [name, value] of rows) {
    if (value === undefined || value === null || value === "") continue;
    body.append(make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)));
  }
  return scrolled(make("table", {}, make("caption", {}, caption), body));
}

const scrolled = (table, name) =>
  make("div", name ? { class: "scroll", tabindex: 0, role: "region", "aria-label": name } : { class: "scroll" }, table);

function table(caption, heads, rows) {
  const head = make("tr", {}, ...heads.map((name) => make("th", { scope: "col" }, name)));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell) =>
    make("td", typeof cell === "number" ? { class: "number" } : {}, cell ?? "–"))));
  return scrolled(make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body)), caption);
}

const ms = (value) => (value === null ? "–" : `${value.toFixed(1)} ms`);

function statistics(models) {
  return table("The server, since it started",
    ["part", "requests", "errors", "mean time", "of that waiting", "photographs a run", "runs by size"],
    models.map((one) => [one.model, one.requests, one.errors, ms(one.mean_ms), ms(one.queue_ms),
      one.images_a_run === null ? "–" : one.images_a_run.toFixed(2),
      Object.entries(one.batches).map(([size, count]) => `${size}: ${count}`).join(", ") || "–"]));
}

function letters(counts) {
  if (!counts || !Object.keys(counts).length) return null;
  const all = Object.values(counts).reduce((sum, one) => sum + one, 0);
  const ranked = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  return table("Letters answered, the last hour at most", ["letter", "photographs", "share"],
    ranked.map(([name, count]) => [name, count, percent(count / all)]));
}

function perClass(scores) {
  if (!scores) return null;
  const rows = Object.entries(scores).map(([name, one]) =>
    [name, ...["precision", "recall", "f1", "count"].map((key) => {
      const value = one[key] ?? one[{ count: "support" }[key]];
      return value === undefined ? "–" : key === "count" ? value : percent(value);
    })]);
  return table("By class, on the test set", ["class", "precision", "recall", "F1", "photographs"], rows);
}

function matrix(confusion) {
  if (!confusion) return null;
  const { labels, matrix } = confusion;
  const head = make("tr", {}, make("td"), ...labels.map((name) => make("th", { scope: "col" }, name)));
  const rows = matrix.map((row, i) => {
    const all = row.reduce((sum, one) => sum + one, 0) || 1;
    const cells = row.map((count, j) => {
      const cell = make("td", {}, count ? String(count) : "");
      if (count) {
        const strength = Math.round(25 + 55 * (count / all));
        cell.style.backgroundColor = `color-mix(in srgb, var(${i === j ? "--bar" : "--bad"}) ${i === j ? strength : 25}%, transparent)`;
      }
      return cell;
    });
    return make("tr", {}, make("th", { scope: "row" }, labels[i]), ...cells);
  });
  return scrolled(make("table", { class: "matrix" },
    make("caption", {}, "Confusion matrix: rows are right, columns answered"),
    make("thead", {}, head), make("tbody", {}, ...rows)), "Confusion matrix");
}

function versions(found) {
  if (!found.versions.length) return null;
  const list = table("Versions", ["version", "task", "model", "accuracy", "deployed", ""],
    found.versions.map((one) => [String(one.version), one.task_id, one.model, share(one.accuracy ?? undefined), one.deployed, one.state]));
  const box = make("div", {}, list);
  const current = found.versions.findIndex((one) => one.state === "current");
  const older = found.versions.slice(current + 1).some((one) => one.state !== "withdrawn");
  if (found.may_roll_back && older) box.append(form());
  return box;
}

function form() {
  const token = make("input", { type: "password", id: "token", autocomplete: "off", required: "" });
  const button = make("button", {}, "Go back to the version before");
  const said = make("p", { role: "status" });
  const box = make("form", { class: "row" }, make("label", { for: "token" }, "Administrator's token"), token, button, said);
  box.onsubmit = async (event) => {
    event.preventDefault();
    if (!confirm("Serve the version before this one to everybody?")) return;
    button.disabled = true;
    const answer = await fetch("/roll-back", { method: "POST", headers: { authorization: `Bearer ${token.value}` } });
    const found = await answer.json();
    said.textContent = found.error ?? `version ${found.version} is served now`;
    said.className = found.error ? "error" : "";
    button.disabled = false;
    if (!found.error) document.activeElement?.blur();
  };
  return box;
}
