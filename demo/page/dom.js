// Small helpers; text is always set as text, never as markup.
export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function notice(text) {
  $("notice").hidden = !text;
  if ($("notice").textContent !== text) $("notice").textContent = text;
}

export const percent = (share) => `${Math.round(100 * share)} %`;
export const spoken = (sign) => ({ " ": "space", del: "delete" })[sign] ?? sign;
