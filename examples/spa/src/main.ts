import { startFrame } from "./frame";
import { showAgain, start } from "./router";
import { account } from "./views/account";
import { address } from "./views/address";
import { code } from "./views/code";
import { done } from "./views/done";
import { link } from "./views/link";
import { logIn } from "./views/log-in";
import { notFound } from "./views/not-found";

startFrame(showAgain);
start(
  {
    "/": address,
    "/code/": code,
    "/verify-user/": link,
    "/done/": done,
    "/log-in/": logIn,
    "/account/": account,
  },
  notFound,
);
