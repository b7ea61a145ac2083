// Calls of a person at the gateway, for as long as somebody looks at the console.
"use strict";

// So that the processes which are looked at have some of the processor's time as well.
const PAUSE = 40;

// Begins to get these paths again and again, and returns how that is ended.
exports.begin = (gateway, token, paths) => {
  let isOver = false;
  const headers = { authorization: `Bearer ${token}` };
  async function caller(first) {
    for (let turn = first; !isOver; turn += 1) {
      // Whatever comes of it is what the console is to show.
      await fetch(`${gateway}${paths[turn % paths.length]}`, { headers }).then((answer) => answer.text()).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
  paths.forEach((_, place) => caller(place));
  return () => { isOver = true; };
};
