
"use strict";
const EVERY_MS = 2000;
const at = (id) => document.getElementById(id);

function size(bytes) {
  if (bytes === null || bytes === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
  return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
}

function cell(text, of = {}) {
  const td = document.createElement("td");
  if (of.state) td.dataset.state = of.state;
  if (of.style) td.className = of.style;
  if (of.title) td.title = of.title;
  if (of.link) {
    const a = document.createElement("a");
    a.href = of.link;
    a.textContent = text;
    td.append(a);
  } else {
    td.textContent = text;
  }
  return td;
}

function row(...cells) {
  const tr = document.createElement("tr");
  tr.append(...cells);
  return tr;
}

function torrent(t) {
  const state = t.draining ? "draining" : t.state;
  return row(
    cell(t.id, { title: t.endpoints.join(" ") }), cell(state, { state }), cell(t.zone),
    cell(t.fragments, { style: "number" }), cell(size(t.used_bytes), { style: "number" }),
    cell(size(t.capacity_bytes), { style: "number" }));
}

function file(f) {
  return row(
    cell(f.name || f.digest.slice(0, 12), { link: "/files/" + encodeURIComponent(f.digest) }),
    cell(f.state, { state: f.state }), cell(f.copies, { style: "number" }),
    cell(size(f.size_bytes), { style: "number" }),
    cell(f.digest.slice(0, 12) + "…", { style: "digest", title: f.digest }));
}

function more(shown, known, what) {
  if (known === 0) return `no ${what} yet`;
  return known > shown ? `and ${known - shown} more: 'mds' lists them all` : "";
}

function show(s) {
  const verdicts = { ok: "All is well", degraded: "Degraded", unavailable: "Data unavailable" };
  at("verdict").textContent = verdicts[s.verdict] || s.verdict;
  at("verdict").dataset.state = s.verdict;
  at("reasons").replaceChildren(...s.reasons.map((reason) => {
    const li = document.createElement("li");
    li.textContent = reason;
    return li;
  }));
  const copies = s.copies === 0 ? "a copy on every torrent" : `copies wanted: ${s.copies}`;
  at("counts").textContent =
    `${s.files_known} files, ${size(s.files_bytes)}, in ${s.fragments} fragments; ${copies}`;
  at("server").textContent = `seen by ${s.role} ${s.server_id}, version ${s.version}`;
  at("torrents").replaceChildren(...s.torrents.map(torrent));
  at("files").replaceChildren(...s.files.map(file));
  at("more-torrents").textContent = more(s.torrents.length, s.torrents_known, "torrents");
  at("more-files").textContent = more(s.files.length, s.files_known, "files");
}

async function refresh() {
  try {
    const answer = await fetch("/api/status", { cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    show(await answer.json());
  } catch (error) {
    at("verdict").textContent = "This server does not answer";
    at("verdict").dataset.state = "lost";
    at("reasons").replaceChildren();
  }
  setTimeout(refresh, EVERY_MS);
}
refresh();
