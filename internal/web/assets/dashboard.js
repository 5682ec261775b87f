// The page asks for itself every few seconds and shows what is new. While somebody writes or chooses in a
// form nothing is replaced under their hands.
const interval = 5000;
const busy = () => {
  const main = document.querySelector("main");
  return main.contains(document.activeElement) || [...main.querySelectorAll("input:not([type=hidden])")].some((i) => i.value !== "") || !document.getSelection().isCollapsed;
};
async function refresh() {
  const stale = document.getElementById("stale");
  if (!document.hidden && !busy()) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!answer.ok) throw new Error(String(answer.status));
      if (!busy()) {
        document.querySelector("main").replaceWith(page.querySelector("main"));
        document.querySelector("header").replaceWith(page.querySelector("header"));
      }
    } catch {
      if (stale) stale.hidden = false;
    }
  }
  setTimeout(refresh, interval);
}
if (document.querySelector("main form, main table, main .empty, main section")) setTimeout(refresh, interval);
