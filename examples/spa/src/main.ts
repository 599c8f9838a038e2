import { start } from "./router";
import { address } from "./views/address";
import { code } from "./views/code";
import { done } from "./views/done";
import { link } from "./views/link";
import { notFound } from "./views/not-found";

start(
  {
    "/": address,
    "/code/": code,
    "/verify-user/": link,
    "/done/": done,
  },
  notFound,
);
