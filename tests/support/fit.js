// Opens each page of the site at each width in a frame, and posts what does not fit to /found.
// fit({pages: ["api/"], widths: [390]})
"use strict";

const PATIENCE = 5000; // ms, for the theme's script to wrap the tables

function inside(element, what) {
  return Boolean(element.closest(what));
}

function label(element) {
  const text = (element.textContent || element.getAttribute("src") || "").trim();
  return `${element.tagName.toLowerCase()} "${text.replace(/\s+/g, " ").slice(0, 40)}"`;
}

function* brokenOptions(document) {
  for (const code of document.querySelectorAll("article :not(pre) > code")) {
    const texts = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      for (const option of texts.currentNode.data.matchAll(/(?<!\S)-[\w-]+/g)) {
        const range = document.createRange();
        range.setStart(texts.currentNode, option.index);
        range.setEnd(texts.currentNode, option.index + option[0].length);
        if (range.getClientRects().length > 1) yield `${label(code)} breaks within ${option[0]}`;
      }
    }
  }
}

function* misfits(document, view) {
  const width = document.documentElement.clientWidth;
  const needed = document.scrollingElement.scrollWidth;
  if (needed > width) yield `the page is ${needed} px wide`;
  for (const wrap of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (wrap.scrollWidth > wrap.clientWidth) {
      yield `${label(wrap.querySelector("table"))} is ${wrap.scrollWidth} px wide`;
    }
  }
  for (const code of document.querySelectorAll("article :is(th, td) code")) {
    const isOneWord = !/[\s/?-]/.test(code.textContent); // after these a line may break
    if (isOneWord && code.getClientRects().length > 1) yield `${label(code)} breaks within a word`;
  }
  yield* brokenOptions(document);
  for (const image of document.images) {
    if (!image.naturalWidth) yield `${label(image)} is not there`;
  }
  for (const element of document.querySelectorAll("article *")) {
    const box = element.getBoundingClientRect();
    if (!box.width || box.right <= width + 1) continue;
    if (inside(element, ".md-typeset__scrollwrap")) continue; // reported above
    const code = element.closest("pre > code");
    if (code && view.getComputedStyle(code).overflowX === "auto") continue; // it scrolls
    yield `${label(element)} ends at ${Math.round(box.right)} px`;
  }
}

async function open(frame, page, width) {
  frame.style.width = `${width}px`;
  const loaded = new Promise((done) => frame.addEventListener("load", done, { once: true }));
  frame.src = page;
  await loaded;
  const document = frame.contentDocument;
  const bare = () =>
    [...document.querySelectorAll("article table:not([class])")].some(
      (table) => !inside(table, ".md-typeset__scrollwrap"),
    );
  const end = performance.now() + PATIENCE;
  while (bare() && performance.now() < end) await new Promise((done) => setTimeout(done, 10));
  return [...new Set(misfits(document, frame.contentWindow))];
}

async function fit({ pages, widths }) {
  const frame = document.body.appendChild(document.createElement("iframe"));
  frame.style.height = "900px";
  const found = {};
  for (const width of widths) {
    for (const page of pages) found[`${width} ${page}`] = await open(frame, page, width);
  }
  await fetch("/found", { method: "POST", body: JSON.stringify(found) });
}
