// Writes what is in the bundled scripts: packages, versions, licences, and the sums of the files.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const [lock, modules, out] = process.argv.slice(2);
const packages = JSON.parse(readFileSync(lock, "utf8")).packages;
const sum = (name) => createHash("sha256").update(readFileSync(`${out}/${name}`)).digest("hex");
const lines = [
  "Scripts of others that the pages use. `make editor` makes the two files again.",
  "",
  ...["editor.js", "htmx.min.js"].map((name) => `sha256 ${sum(name)}  ${name}`),
  "",
];
const texts = new Map();
for (const [path, it] of Object.entries(packages)) {
  if (!path || it.dev || it.optional || it.devOptional) continue;
  const name = path.replace("node_modules/", "");
  const home = `${modules}/${name}`;
  const said = JSON.parse(readFileSync(`${home}/package.json`, "utf8"));
  lines.push(`${name === "htmx.org" ? "htmx.min.js" : "editor.js"}  ${name} ${said.version}  ${said.license}`);
  const file = ["LICENSE", "LICENSE.md", "LICENSE.txt"].find((it) => existsSync(`${home}/${it}`));
  const text = file ? readFileSync(`${home}/${file}`, "utf8").trim() : "";
  texts.set(text, [...(texts.get(text) ?? []), name]);
}
for (const [text, names] of texts) if (text) lines.push("", `--- ${names.join(", ")} ---`, "", text);
writeFileSync(`${out}/VENDORED.txt`, `${lines.join("\n").replaceAll("\r", "")}\n`);
