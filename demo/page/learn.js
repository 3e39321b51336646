// The tab Learn: the chart of signs, and practice.
import { $, make, percent } from "./dom.js";

const KEPT = "asl-practice"; // in the browser: sign -> [right, asked]
const ADVISE_MS = 1000; // another letter must be seen so long before it is talked about
const WORDS = ["HELLO", "JAZZ", "HAND", "THANKS", "FRIEND", "QUIZ", "WAX", "BOY", "COME", "VIDEO"];
let signs = [];
let start = () => {};
let asked = null; // { word, at, missed }
let other = { sign: "", since: 0 };

const svg = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

export async function prepareLearn({ startCamera }) {
  start = startCamera;
  $("lefthand").checked = localStorage.getItem("asl-left") === "1";
  $("signer").onchange = drawChart;
  $("lefthand").onchange = () => {
    localStorage.setItem("asl-left", $("lefthand").checked ? "1" : "0");
    drawChart();
    if (asked) ask(asked.word, asked.at);
  };
  $("ask").onsubmit = (event) => {
    event.preventDefault();
    const word = $("asked").value.toUpperCase().replace(/[^A-Z ]/g, "").trim();
    if (word) ask(word);
    else $("asked").focus();
  };
  $("surprise").onclick = () => ask(weakest() ?? WORDS[Math.floor(Math.random() * WORDS.length)]);
  $("skip").onclick = () => {
    record(current(), false);
    next();
  };
  $("forget").onclick = () => {
    localStorage.removeItem(KEPT);
    showScore();
  };
  signs = await (await fetch("/signs.json")).json();
  drawChart();
  showScore();
}

const how = (sign) => signs.find((one) => one.sign === sign)?.how ?? "";

function drawing(sign, signer) {
  const name = signer ? "as the signer sees it" : "from the front";
  const box = make("span", { class: "drawing" });
  box.append(make("img", { src: `/signs/${sign}/${signer ? "signer" : "front"}.png`, loading: "lazy",
    width: 240, height: 240, alt: `${sign}, ${name}: ${how(sign)}` }));
  const stroke = signs.find((one) => one.sign === sign)?.stroke;
  if (stroke) box.append(arrow(stroke, signer));
  box.classList.toggle("left", $("lefthand").checked);
  return box;
}

function arrow(stroke, signer) {
  const xs = stroke.map(([x]) => x * (signer ? -1 : 1));
  const ys = stroke.map(([, y]) => y);
  const middle = (values) => (Math.min(...values) + Math.max(...values)) / 2;
  const at = stroke.map((_, i) => [120 + 110 * (xs[i] - middle(xs)), 120 + 110 * (ys[i] - middle(ys))]);
  const picture = svg("svg", { viewBox: "0 0 240 240", "aria-hidden": "true" });
  picture.append(svg("path", { d: `M${at.map((p) => p.join(" ")).join("L")}` }));
  const [[ax, ay], [bx, by]] = at.slice(-2);
  const turn = (Math.atan2(by - ay, bx - ax) * 180) / Math.PI;
  picture.append(svg("polygon", { points: "14,0 -8,-9 -8,9", transform: `translate(${bx} ${by}) rotate(${turn})` }));
  return picture;
}

function drawChart() {
  $("chart").replaceChildren(
    ...signs.map(({ sign, how }) =>
      make("li", {}, drawing(sign, $("signer").checked), make("strong", {}, sign), make("p", {}, how))),
  );
}

const current = () => (asked.word[asked.at] === " " ? "space" : asked.word[asked.at]);

function ask(word, at = 0) {
  asked = { word, at, missed: false };
  other = { sign: "", since: 0 };
  $("task").hidden = false;
  const parts = [...word].map((letter, i) =>
    make("span", { class: i < at ? "done" : i === at ? "now" : "later" }, letter === " " ? "␣" : letter));
  $("word").replaceChildren(...parts);
  $("advice").textContent = `Show ${current()}: ${how(current())}.`;
  $("pair").replaceChildren(drawing(current(), false), drawing(current(), true));
  start();
}

function next() {
  if (asked.at + 1 < asked.word.length) return ask(asked.word, asked.at + 1);
  const word = asked.word;
  asked = null;
  $("word").replaceChildren(make("span", { class: "done" }, word));
  $("advice").textContent = `${word}: done. Ask for another one.`;
  $("pair").replaceChildren();
}

// Told of every answer while this tab is shown.
export function practise(found) {
  if (!asked) return;
  const wanted = current();
  if (found.event?.sign === wanted) {
    record(wanted, !asked.missed);
    return next();
  }
  const seen = found.predicted_class;
  const now = performance.now();
  if (seen !== other.sign) other = { sign: seen, since: now };
  const beginning = { J: ["I", "Y"], Z: ["D", "G", "L", "X"] }[wanted] ?? [];
  if (seen === wanted || beginning.includes(seen)) {
    const moving = beginning.length > 0;
    say(moving ? `Good. Now move: ${how(wanted)}.` : `Good, hold ${wanted}.`);
  } else if (seen !== "nothing" && found.confidence > 0.5 && now - other.since > ADVISE_MS) {
    asked.missed = true;
    say(`That is ${seen}: ${how(seen)}. ${wanted}: ${how(wanted)}.`);
  }
}

function say(text) {
  if ($("advice").textContent !== text) $("advice").textContent = text;
}

function scores() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}

function record(sign, right) {
  const kept = scores();
  const [good, all] = kept[sign] ?? [0, 0];
  kept[sign] = [good + (right ? 1 : 0), all + 1];
  localStorage.setItem(KEPT, JSON.stringify(kept));
  showScore();
}

const weak = () =>
  Object.entries(scores()).filter(([, [good, all]]) => good < all)
    .sort(([, a], [, b]) => a[0] / a[1] - b[0] / b[1]).map(([sign]) => sign);
const weakest = () => (Math.random() < 0.5 ? weak().find((sign) => sign.length === 1) : undefined);

function showScore() {
  const all = Object.values(scores());
  const [good, tried] = [0, 1].map((i) => all.reduce((sum, one) => sum + one[i], 0));
  $("forget").hidden = !tried;
  $("score").textContent = tried
    ? `${good} of ${tried} right at once (${percent(good / tried)}).` +
      (weak().length ? ` To practise: ${weak().slice(0, 6).join(", ")}.` : "")
    : "Your score is kept in this browser only.";
}
