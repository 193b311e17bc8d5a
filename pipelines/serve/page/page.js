"use strict";

const find = (id) => document.getElementById(id);
const drop = find("drop");
let about = null;
let request = null;

/** An element with a class and a text; texts from the server are never markup. */
function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function say(text, wrong = false) {
  find("status").textContent = text;
  find("status").classList.toggle("wrong", wrong);
}

function line(likely) {
  const percent = 100 * likely.probability;
  const item = element("li");
  const track = element("div", "track");
  const bar = element("div", "bar");
  bar.style.width = `${percent}%`;
  track.append(bar);
  item.append(element("span", "class", likely.name));
  item.append(element("span", "probability", `${percent.toFixed(1)} %`), track);
  return item;
}

function card(prediction, withColumn) {
  const made = element("article", "card");
  const title = withColumn ? `${prediction.side_network} · ${prediction.column}` : prediction.side_network;
  const classes = element("ol");
  classes.append(...prediction.classes.map(line));
  made.append(element("h2", "", title), classes);
  return made;
}

function show(predictions) {
  const withColumn = new Set(predictions.map((each) => each.column)).size > 1;
  find("results").replaceChildren(...predictions.map((each) => card(each, withColumn)));
}

function preview(photo) {
  const image = find("preview");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(photo);
  image.hidden = false;
  find("hint").hidden = true;
  image.onerror = () => {  // a format that the browser does not show; the server may read it
    image.hidden = true;
    find("hint").hidden = false;
  };
  drop.classList.add("filled");
  find("name").textContent = photo.name;
}

async function classify(photo) {
  request?.abort();
  const mine = (request = new AbortController());
  preview(photo);
  find("results").classList.add("old");
  say("Looking …");
  try {
    if (about && photo.size > about.max_upload) {
      throw new Error(`the photo is too large: expected at most ${about.max_upload.toLocaleString("en")} bytes`);
    }
    const answer = await fetch("predict", { method: "POST", body: photo, signal: mine.signal });
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    show(content.predictions);
    say("");
  } catch (error) {
    if (mine.signal.aborted) return;
    find("results").replaceChildren();
    const lost = error instanceof TypeError;
    say(lost ? "The server does not answer: is losa-serve still running?" : error.message, true);
  }
  find("results").classList.remove("old");
}

function first(files) {
  if (files.length) classify(files[0]);
}

find("file").addEventListener("change", (event) => {
  first(event.target.files);
  event.target.value = "";  // so that the same photo can be chosen again
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
document.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  first(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => first(event.clipboardData.files));

fetch("about").then(async (answer) => {
  about = await answer.json();
  find("about").textContent = `${about.title} on ${about.backbone}`;
});
