/** Making elements: what these pages need in place of a framework. */

import { texts } from "./language";

type Child = Node | string;
type Attributes = Readonly<Record<string, string | boolean>>;

/** Make an element; text goes in as text, so that nothing that a user typed becomes markup. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** The heading of a view; it takes the focus when the view replaces another one. */
export function heading(text: string): HTMLHeadingElement {
  return element("h1", { tabindex: "-1" }, text);
}

export function paragraph(...children: readonly Child[]): HTMLParagraphElement {
  return element("p", {}, ...children);
}

/** The sign above the heading of a view that is the end of something. */
export function badge(kind: "good" | "bad" | "mail"): HTMLParagraphElement {
  return element("p", { class: `badge ${kind}`, "aria-hidden": "true" });
}

/** Replace each name in braces in a text: every language has its own order of words. */
export function fill(text: string, parts: Readonly<Record<string, Child>>): Child[] {
  return text.split(/\{(\w+)\}/).map((piece, index) => (index % 2 ? (parts[piece] ?? "") : piece));
}

export function link(text: string, href: string): HTMLAnchorElement {
  return element("a", { href }, text);
}

export function linkButton(text: string, href: string): HTMLAnchorElement {
  return element("a", { class: "button", href }, text);
}

/** A link beside which the present page stays open. */
export function newWindow(text: string, href: string): HTMLAnchorElement {
  const hint = element("span", { class: "visually-hidden" }, ` ${texts().newWindow}`);
  return element("a", { href, target: "_blank", rel: "noopener" }, text, hint);
}

/** Say something to assistive technology, whatever has the focus. */
export function announce(text: string): void {
  const status = document.querySelector("#status");
  if (status) status.textContent = text;
}
