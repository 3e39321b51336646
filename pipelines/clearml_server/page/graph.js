// A graph of boxes from left to right: steps of a pipeline, versions of a dataset.
import {el, svg} from "./dom.js";

const BOX = 148, HEIGHT = 54, ACROSS = 28, DOWN = 18, EDGE = 4, BELOW = 26;

/** Nodes are {id, title, sub, state, href, parents}; parents that are no nodes are none. */
export function graph(nodes, label) {
  const byId = new Map(nodes.map(node => [node.id, node]));
  const places = new Map(), rows = [];
  const columnOf = (node, seen = new Set()) => {
    if (places.has(node.id)) return places.get(node.id);
    if (seen.has(node.id)) return 0;  // a circle: wherever it is cut
    seen.add(node.id);
    const before = node.parents.map(id => byId.get(id)).filter(Boolean)
      .map(parent => columnOf(parent, seen) + 1);
    places.set(node.id, Math.max(0, ...before));
    return places.get(node.id);
  };
  const boxes = nodes.map(node => {
    const column = columnOf(node);
    rows[column] = (rows[column] ?? 0) + 1;
    return {...node, x: EDGE + column * (BOX + ACROSS),
      y: EDGE + (rows[column] - 1) * (HEIGHT + DOWN)};
  });
  const at = new Map(boxes.map(box => [box.id, box]));
  const width = rows.length * (BOX + ACROSS) - ACROSS + 2 * EDGE;
  const height = Math.max(...rows) * (HEIGHT + DOWN) - DOWN + 2 * EDGE + BELOW;
  const lines = boxes.flatMap(box => box.parents.filter(id => at.has(id)).map(id => {
    const from = at.get(id), [x0, y0] = [from.x + BOX, from.y + HEIGHT / 2];
    const [x1, y1] = [box.x, box.y + HEIGHT / 2], bend = ACROSS;
    if (x1 - x0 <= ACROSS || y0 !== y1) return svg("path",
      {d: `M${x0} ${y0}C${x0 + bend} ${y0} ${x1 - bend} ${y1} ${x1} ${y1}`});
    const low = y0 + HEIGHT / 2 + BELOW / 3;  // around the boxes between them
    return svg("path", {d: `M${x0} ${y0}C${x0 + 16} ${y0} ${x0} ${low} ${x0 + bend} ${low}`
      + `H${x1 - bend}C${x1} ${low} ${x1 - 16} ${y1} ${x1} ${y1}`});
  }));
  const shorten = (text, most) => text.length > most ? `${text.slice(0, most - 1)}…` : text;
  const drawn = boxes.map(box => {
    const state = /^\w+$/.test(box.state ?? "") ? box.state : "other";
    const parts = [svg("title", `${box.title}: ${box.sub}`),
      svg("rect", {x: box.x, y: box.y, width: BOX, height: HEIGHT, rx: 6}),
      svg("rect", {class: `mark ${state}`, x: box.x, y: box.y, width: 5, height: HEIGHT,
        rx: 2}),
      svg("text", {x: box.x + 12, y: box.y + 22}, shorten(box.title, 18)),
      svg("text", {class: "sub", x: box.x + 12, y: box.y + 41}, shorten(box.sub, 24))];
    return box.href ? svg("a", {href: box.href}, parts) : svg("g", parts);
  });
  return el("div.scroll.graph", svg("svg", {width, height, role: "group",
    "aria-label": label}, lines, drawn));
}
