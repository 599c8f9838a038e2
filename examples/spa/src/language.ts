/** The language of these pages: chosen by the user, or the browser's. The API is asked to answer in it too. */

import { ar } from "./texts/ar";
import { de } from "./texts/de";
import { en, type Texts } from "./texts/en";

const KEY = "language";
const ALL: Readonly<Record<string, Texts>> = { en, de, ar };

export const LANGUAGES = Object.entries(ALL).map(([code, { language }]) => ({ code, name: language }));

let present = [remembered(), ...navigator.languages.map((tag) => tag.split("-")[0] ?? "")].find(isKnown) ?? "en";

/** The language as a tag, such as `de`. */
export const language = (): string => present;

export const texts = (): Texts => ALL[present] ?? en;

export function choose(code: string): void {
  present = code;
  try {
    localStorage.setItem(KEY, code);
  } catch {
    // A browser that keeps nothing for these pages: the language lasts until they are left.
  }
}

/** Say "in 5 minutes", in the language of the pages. */
export function inTime(amount: number, unit: "hour" | "minute" | "second"): string {
  return new Intl.RelativeTimeFormat(`${present}-u-nu-latn`).format(amount, unit);
}

function remembered(): string {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

function isKnown(code: string): boolean {
  return Object.hasOwn(ALL, code);
}
