// One model.
import {action, el, facts, section, table, tags} from "./dom.js";
import {when} from "./text.js";
import {mayAct, projectNames, read} from "./server.js";
import {acting, archive, remove, tag, unarchive} from "./actions.js";
import {modelsSection, setNames} from "./lists.js";

export async function modelView(id, refresh, tell) {
  const {models: [model]} = await read("models.get_all", {id: [id], search_hidden: true});
  if (!model) throw new Error(`There is no model ${id}.`);
  document.title = model.name;
  setNames(await projectNames());
  section("#model", {model, acts: mayAct()}, () => [el("h1", model.name),
    mayAct() && acts(model, acting(refresh, tell)), facts({
      Id: el("span.mono", model.id), Comment: model.comment, Tags: tags(model.tags),
      "Last change": when(model.last_update)})]);
  await modelsSection({id: [id]});
  const entries = object => Object.entries(object ?? {});
  section("Labels", entries(model.labels), list => table(
    [["Label", "", ([name]) => name], ["Output", ".number", ([, place]) => place]], list));
  section("Metadata", entries(model.metadata), list => table(
    [["Name", "", ([name]) => name], ["Value", ".value", ([, item]) => item.value]], list));
  return false;
}

const acts = (model, doing) => el("p.bar",
  action("Tag", doing(() => tag([model], "models"))),
  model.system_tags?.includes("archived")
    ? action("Restore", doing(() => unarchive([model], "models")))
    : action("Archive", doing(() => archive([model], "models"))),
  action("Delete", doing(() => remove([model], "models"))));
