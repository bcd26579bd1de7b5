// What the tests ask of a page from inside it. Evaluated once for each page; gives one object of functions.
({
  // Everything that the tab key stops at, in the order in which it should.
  stops() {
    const kinds = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]:not([tabindex="-1"])';
    return [...document.querySelectorAll(kinds)].filter(
      each => !each.disabled && each.tabIndex >= 0 && each.checkVisibility({ visibilityProperty: true })
    );
  },

  // A name for a message: what a person would call it.
  told(each) {
    const words = each.innerText || each.getAttribute("aria-label") || each.name || "";
    return `${each.tagName.toLowerCase()}${each.id && "#" + each.id} "${words.trim().slice(0, 40)}"`;
  },

  // Numbers the stops, and puts the focus before the first one.
  startTabbing() {
    this.stops().forEach((each, at) => (each.dataset.stop = at));
    window.scrollTo(0, 0);
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute("tabindex");
    return this.stops().map(this.told);
  },

  focused() {
    const each = document.activeElement;
    const style = getComputedStyle(each);
    const box = each.getBoundingClientRect();
    return {
      at: Number(each.dataset.stop ?? -1),
      told: this.told(each),
      marked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1,
      seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    };
  },

  shape() {
    const root = document.documentElement;
    const ids = [...document.querySelectorAll("[id]")].map(each => each.id);
    const beyond = each => each.getBoundingClientRect().right > root.clientWidth + 1;
    return {
      title: document.title,
      lang: root.lang,
      headings: [...document.querySelectorAll("h1")].map(each => each.innerText),
      mains: document.querySelectorAll("main").length,
      idsTwice: ids.filter((id, at) => ids.indexOf(id) !== at),
      wider: root.scrollWidth - root.clientWidth,
      widest: [...document.body.querySelectorAll("*")].filter(beyond).slice(0, 5).map(this.told),
      words: document.body.innerText,
    };
  },
});
