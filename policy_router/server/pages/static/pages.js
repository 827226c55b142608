// What a page can do besides being read: all of it works on, or goes without, what the server made.
"use strict";

// A link that can be sent to somebody.
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = button.dataset.copy || location.href;
    await navigator.clipboard.writeText(text);
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  });
}

// A file in place of what is pasted; it is read here, and sent as text like any other.
for (const input of document.querySelectorAll("input[type=file][data-into]")) {
  input.closest("[hidden]").hidden = false;
  input.addEventListener("change", async () => {
    if (input.files.length) document.getElementById(input.dataset.into).value = await input.files[0].text();
  });
}

// What was typed survives a session that has ended: it waits in this tab until one has signed in.
for (const form of document.querySelectorAll("form[data-kept]")) {
  const kept = sessionStorage.getItem(form.dataset.kept);
  for (const [name, value] of Object.entries(JSON.parse(kept || "{}"))) form.elements[name].value = value;
  form.addEventListener("submit", () => {
    const fields = [...new FormData(form)].filter(([name, value]) => name !== "form_value" && typeof value === "string");
    sessionStorage.setItem(form.dataset.kept, JSON.stringify(Object.fromEntries(fields)));
  });
}
if (!location.pathname.startsWith("/pages/sign-in")) sessionStorage.removeItem("what-if");

// On a small screen, what narrows a list down is folded up above the list.
if (matchMedia("(max-width: 860px)").matches) {
  for (const it of document.querySelectorAll(".facets details")) it.open = false;
}

for (const button of document.querySelectorAll("button[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}
