// Talking to the server: reading through the view, which needs no login here, and
// acting through its API, with a token that only this page has. A token in this tab's
// own storage goes along with no request that another page makes; a cookie would.

const KEY = "clearml token";

/** Parse JSON as Python writes it: NaN and Infinity become null. */
export function parse(text) {
  try { return JSON.parse(text); } catch {
    return JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g,
      found => found[0] === '"' ? found : "null"));
  }
}

async function answer(request) {
  const reply = await request
    .catch(() => { throw new Error("The server does not answer; this may be old."); });
  const text = await reply.text();
  if (reply.headers.get("Content-Type") !== "application/json") throw new Error(text);
  const {meta, data} = parse(text);
  if (meta.result_code === 401) sessionStorage.removeItem(KEY);
  if (meta.result_code !== 200) throw new Error(meta.result_msg);
  return data;
}

export function read(endpoint, request = {}) {
  const query = encodeURIComponent(JSON.stringify(request));
  return answer(fetch(`/view/${endpoint}?request=${query}`));
}

const post = (path, body, headers = {}) => answer(fetch(path, {
  method: "POST", credentials: "same-origin", body: JSON.stringify(body),
  headers: {"Content-Type": "application/json", ...headers}}));

export const mayAct = () => Boolean(sessionStorage.getItem(KEY));
export const logOut = () => sessionStorage.removeItem(KEY);
export async function logIn(keys) {
  sessionStorage.setItem(KEY, (await post("/view/login", keys)).token);
}
/** Call the API in the name of whoever logged in. */
export const call = (endpoint, request) => post(`/${endpoint}`, request,
  {Authorization: `Bearer ${sessionStorage.getItem(KEY)}`});

/** Raise the first refusal of a call on many. */
export async function callMany(endpoint, request) {
  const {failed} = await call(endpoint, request);
  if (failed?.length) throw new Error(failed[0].error.msg);
}

export async function projectNames() {
  const request = {search_hidden: true, only_fields: ["id", "name"]};
  const {projects} = await read("projects.get_all", request);
  // pipelines and datasets live in hidden projects below those that people made
  return Object.fromEntries(projects.map(p =>
    [p.id, p.name.replace(/\/\.(pipelines|datasets|reports)\b/, "")]));
}
