"use strict";
(() => {
  const root = document.documentElement;
  const toggle = document.getElementById("theme");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => { toggle.textContent = dark() ? "Light" : "Dark"; };
  toggle.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();

  for (const table of document.querySelectorAll("table[data-sort]")) {
    const body = table.tBodies[0];
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const head = button.closest("th");
      const first = head.dataset.first || "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const way = head.getAttribute("aria-sort") === first ? other : first;
      for (const th of table.tHead.querySelectorAll("th")) th.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", way);
      const sign = way === "ascending" ? 1 : -1;
      const key = (row) => row.cells[head.cellIndex].dataset.v;
      const rows = [...body.rows];
      // What was not measured stays last, whichever way.
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const [m, n] = [Number(x), Number(y)];
        return sign * (Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y, "en", { numeric: true }) : m - n);
      });
      body.append(...rows);
    });
  }

  const filters = document.getElementById("filters");
  if (filters) {
    const rows = [...document.querySelectorAll("#config-table tbody tr")];
    const count = document.getElementById("count");
    const apply = () => {
      const text = filters.elements.text.value.trim().toLowerCase();
      const chosen = [...filters.querySelectorAll("select")].filter((s) => s.value !== "");
      let shown = 0;
      for (const row of rows) {
        const hit = (!text || row.textContent.toLowerCase().includes(text))
          && chosen.every((s) => row.cells[Number(s.dataset.column)].dataset.v === s.value);
        row.hidden = !hit;
        shown += hit;
      }
      count.textContent = shown === rows.length ? `${rows.length} configs` : `${shown} of ${rows.length} configs`;
    };
    filters.addEventListener("input", apply);
    filters.addEventListener("reset", () => setTimeout(apply));
    filters.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }

  // What is closed is not printed, and of very many configs not all should be.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open], [data-short])")];
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of opened) one.open = false; });

  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  open();
})();
