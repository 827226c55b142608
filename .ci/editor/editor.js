// The editor of the playground. `make editor` bundles it into the package; see static/VENDORED.txt.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { EditorState } from "@codemirror/state";
import {
  drawSelection, EditorView, highlightActiveLine, hoverTooltip, keymap, lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";

const WAIT_MS = 40; // after a key, before the service is asked
const form = document.getElementById("playground");
const result = document.getElementById("result");
const took = document.getElementById("took");
const fields = ["policy", "request", "now", "why_not"];

// The colours are those of the page: its custom properties reach into the shadow tree.
const colours = HighlightStyle.define([
  { tag: [tags.definition(tags.propertyName), tags.propertyName], color: "var(--link)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--good)" },
  { tag: [tags.number, tags.bool, tags.null, tags.keyword], color: "var(--warn)" },
  { tag: [tags.comment, tags.lineComment], color: "var(--dim)", fontStyle: "italic" },
]);
const look = EditorView.theme({
  "&": { maxHeight: "var(--editor-height)", fontSize: "13px", backgroundColor: "var(--card)", color: "var(--text)" },
  ".cm-content": { fontFamily: "var(--mono)", caretColor: "var(--text)" },
  ".cm-scroller": { overflow: "auto", fontFamily: "var(--mono)", lineHeight: "1.5" },
  ".cm-gutters": { backgroundColor: "var(--sunk)", color: "var(--dim)", border: "none" },
  ".cm-activeLine": { backgroundColor: "transparent" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  "&.cm-focused": { outline: "none" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--mark) !important" },
  ".cm-tooltip": { backgroundColor: "var(--card)", color: "var(--text)", border: "1px solid var(--strong-line)", borderRadius: "5px", maxWidth: "34rem" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--main)", color: "var(--on-main)" },
  ".cm-completionDetail": { color: "var(--dim)", fontStyle: "normal", marginInlineStart: "1em" },
  ".cm-tooltip-hover, .cm-completionInfo": { padding: "4px 8px", whiteSpace: "pre-wrap", fontFamily: "var(--font)" },
  ".cm-diagnostic": { fontFamily: "var(--font)", whiteSpace: "pre-wrap" },
});

class SessionEnded extends Error {}

async function asked(path, values) {
  const body = new URLSearchParams({ ...values, form_value: form.elements.form_value.value });
  const answer = await fetch(path, { method: "POST", body, redirect: "manual" });
  // It leads to where one signs in, or the form is of a session before this one.
  if (answer.type === "opaqueredirect" || answer.status === 403) throw new SessionEnded();
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}

// What the service knows of a place in the rules. Columns count characters, from 1.
async function atPlace(view, offset) {
  const line = view.state.doc.lineAt(offset);
  const column = [...line.text.slice(0, offset - line.from)].length + 1;
  const policy = view.state.doc.toString();
  return asked("/pages/playground/place", { policy, line: line.number, column }).catch(() => null);
}

async function completed(context) {
  const word = context.matchBefore(/[\w.-]*/);
  if (!context.explicit && (!word || word.from === word.to)) return null;
  const found = await atPlace(context.view, context.pos);
  if (!found || !found.items.length) return null;
  return {
    from: context.pos - found.items[0].replaced,
    options: found.items.map((it) => ({ label: it.text, detail: it.type, info: it.about || undefined })),
  };
}

const hovered = hoverTooltip(async (view, pos) => {
  const known = await atPlace(view, pos);
  const found = known && known.found;
  if (!found || !(found.about || found.type)) return null;
  return {
    pos: placed(view, ...found.start), end: placed(view, ...found.end), above: true,
    create() {
      const dom = document.createElement("div");
      const name = document.createElement("b");
      name.textContent = found.name;
      dom.append(name, ` ${found.type}\n${found.about}`);
      return { dom };
    },
  };
});

function edited(area, label, extras) {
  const host = document.createElement("div");
  host.className = `editor ${area.name}`;
  host.dir = "ltr";
  area.hidden = true;
  area.after(host);
  // In a shadow tree the editor's rules are adopted by a script, and no style is inline.
  const root = host.attachShadow({ mode: "open" });
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: area.value,
      extensions: [
        lineNumbers(), history(), drawSelection(), indentOnInput(), bracketMatching(), closeBrackets(),
        highlightActiveLine(), syntaxHighlighting(colours), yaml(), look, EditorView.lineWrapping,
        EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false", tabindex: "0" }),
        keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap, ...lintKeymap]),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          area.value = update.state.doc.toString();
          soon();
        }),
        ...extras,
      ],
    }),
  });
  return view;
}

const views = {
  policy: edited(form.elements.policy, "Rules", [
    lintGutter(), autocompletion({ override: [completed] }), hovered,
  ]),
  request: edited(form.elements.request, "Request", []),
};

function values() {
  return Object.fromEntries(fields.map((name) => [name, form.elements[name].value]));
}

function placed(view, line, column) {
  const at = view.state.doc.line(Math.min(Math.max(line, 1), view.state.doc.lines));
  // Columns count characters, positions count units of UTF-16.
  const before = [...at.text].slice(0, column - 1).join("");
  return Math.min(at.from + before.length, at.to);
}

function show(answer) {
  const open = [...result.querySelectorAll("details")].map((it) => it.open);
  result.innerHTML = answer.html;
  result.querySelectorAll("details").forEach((it, place) => { it.open = Boolean(open[place]); });
  const view = views.policy;
  view.dispatch(setDiagnostics(view.state, answer.diagnostics.map((it) => {
    const from = placed(view, it.line, it.column);
    return {
      from, to: Math.max(from, placed(view, it.end_line, it.end_column)),
      severity: it.severity === "hint" ? "info" : it.severity,
      source: it.code, message: it.help ? `${it.message}\n${it.help}` : it.message,
    };
  })));
}

let waiting = 0;
let isAsking = false;
let isStale = false;
async function ask() {
  if (isAsking) { isStale = true; return; }
  isAsking = true;
  result.classList.add("busy");
  const began = performance.now();
  try {
    show(await asked("/pages/playground/try", values()));
    const spent = performance.now() - began;
    took.textContent = `${Math.round(spent)} ms`;
    form.dataset.took = String(spent);
  } catch (problem) {
    if (problem instanceof SessionEnded) await offerSignIn();
    else took.textContent = `no answer: ${problem.message}`;
  }
  result.classList.remove("busy");
  isAsking = false;
  if (isStale) { isStale = false; ask(); }
}

// The case goes along in the address, past where one signs in.
async function offerSignIn() {
  showInAddress(await packed(JSON.stringify(values())));
  const again = document.createElement("button");
  again.type = "button";
  again.textContent = "Sign in again";
  again.addEventListener("click", () => location.reload());
  took.replaceChildren("The session has ended, and what stands here is kept. ", again);
}

function soon() {
  clearTimeout(waiting);
  waiting = setTimeout(ask, WAIT_MS);
}

form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
for (const name of ["now", "why_not"]) form.elements[name].addEventListener("input", soon);
result.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-line]");
  if (!link) return;
  event.preventDefault();
  const view = views.policy;
  view.dispatch({
    selection: { anchor: placed(view, Number(link.dataset.line), Number(link.dataset.column)) },
    scrollIntoView: true,
  });
  view.focus();
});

// The whole case in the fragment of an address, which no browser sends to anybody.
async function packed(text) {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let spelt = "";
  for (const byte of bytes) spelt += String.fromCharCode(byte);
  return btoa(spelt).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function unpacked(text) {
  const spelt = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(spelt, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).text();
}

const share = document.getElementById("share");
share.hidden = false;
share.addEventListener("click", async () => {
  showInAddress(await packed(JSON.stringify(values())));
  await navigator.clipboard.writeText(location.href).catch(() => undefined);
  share.textContent = "Copied";
  setTimeout(() => { share.textContent = "Copy a link to this case"; }, 1500);
});

function showInAddress(text) {
  window.history.replaceState(null, "", `${location.pathname}#case=${text}`);
}

async function opened() {
  if (!location.hash.startsWith("#case=")) return;
  try {
    const said = JSON.parse(await unpacked(location.hash.slice(6)));
    for (const name of fields) {
      if (typeof said[name] !== "string") continue;
      form.elements[name].value = said[name];
      const view = views[name];
      if (view) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: said[name] } });
    }
    ask();
  } catch {
    took.textContent = "the link holds no case";
  }
}
opened();
window.addEventListener("hashchange", opened);
form.dataset.ready = "true";
if (!location.hash.startsWith("#case=")) ask();
