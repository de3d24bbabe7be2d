"use strict";
/** Draw the page from the data in it; a page that is served asks for newer data while it is visible. */

const POLL_SECONDS = 2;
const VIEWS = { now: NowView, curves: CurvesView, compare: CompareView, system: SystemView };

/** @param {string} message what is wrong with the connection, or "" */
function showFreshness(payload, message) {
  if (payload.generated === null) return;
  const time = new Date(payload.generated * 1000);
  const stamp = `${time.toLocaleDateString("sv-SE")} ${time.toLocaleTimeString("sv-SE")}`;
  let text = document.body.dataset.url ? `live, last change ${stamp}` : `state of ${stamp}`;
  if (payload.error) text = `state of ${stamp}; the store cannot be read: ${payload.error}`;
  const element = document.getElementById("freshness");
  if (element.textContent !== text + message) element.textContent = text + message;
}

function startPage() {
  let payload = JSON.parse(document.getElementById("payload").textContent);
  const dialog = new RunDialog();
  const views = Object.entries(VIEWS)
    .map(([name, View]) => [document.getElementById(name), View])
    .filter(([section]) => section !== null)
    .map(([section, View]) => new View(section, dialog));
  const show = (newPayload) => {
    payload = newPayload;
    const sweep = new Sweep(payload);
    for (const view of views) view.update(sweep);
    showFreshness(payload, "");
  };
  show(payload);
  document.body.dataset.ready = "true";
  const url = document.body.dataset.url;
  if (!url) return;
  let tag = "";
  const poll = async () => {
    if (!document.hidden) {
      try {
        const response = await fetch(url, { headers: tag ? { "If-None-Match": tag } : {} });
        if (response.ok) {
          tag = response.headers.get("ETag") || "";
          show(await response.json());
        } else {
          showFreshness(payload, response.status === 304 ? "" : `; the server answers ${response.status}`);
        }
        views.forEach((view) => view.tick?.());
      } catch {
        showFreshness(payload, "; the server does not answer");
      }
    }
    setTimeout(poll, POLL_SECONDS * 1000);
  };
  setTimeout(poll, POLL_SECONDS * 1000);
}

startPage();
