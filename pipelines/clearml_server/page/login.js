// Logging in, which is only needed to change something.
import {el, link, section} from "./dom.js";
import {logIn, logOut, mayAct} from "./server.js";

export async function loginView() {
  document.title = "Log in";
  const token = /^#link=(\S+)$/.exec(location.hash)?.[1];
  if (token) {
    history.replaceState(null, "", "/login");
    await logIn({link: token});
  }
  if (mayAct()) return location.replace("/");
  const form = el("form", {submit: event => {
    event.preventDefault();
    const message = form.querySelector("[role=alert]");
    logIn(Object.fromEntries(new FormData(form))).then(() => location.replace("/"),
      error => { message.textContent = error.message; });
  }}, el("div.fields",
    el("label", {for: "access"}, "Access key"),
    el("input", {id: "access", name: "access_key", autocomplete: "username", required: ""}),
    el("label", {for: "secret"}, "Secret key"),
    el("input", {id: "secret", name: "secret_key", type: "password",
      autocomplete: "current-password", required: ""})),
  el("p", {role: "alert"}), el("button.act", "Log in"));
  section("#login", "login", () => [el("h1", "Log in"),
    el("p", "Looking needs no login on this machine; changing something does. The keys are "
      + "in clearml.conf in the server's folder. ", el("span.mono",
      "python -m pipelines.clearml_server"), " prints a link that logs in."), form]);
  return false;
}

export function showWho() {
  const place = document.getElementById("who");
  place.replaceChildren(mayAct() ? el("button", {type: "button", click: () => {
    logOut();
    location.reload();
  }}, "Log out") : link("/login", "Log in"));
}
