// Asks again and again, and never while nobody sees the page: one question at a time, the next one a while after the answer.

const EVERY = 2000;
const LONGEST = 30_000;

// Runs `ask` every two seconds, less often where it fails, until the returned function is called.
export function poll(ask, onProblem = () => {}) {
  let [isOver, timer, wait] = [false, 0, EVERY];
  async function turn() {
    if (isOver || document.hidden) return;
    try {
      await ask();
      wait = EVERY;
      onProblem(null);
    } catch (problem) {
      wait = Math.min(wait * 2, LONGEST);
      if (!isOver) onProblem(problem);
    }
    if (!isOver && !document.hidden) timer = setTimeout(turn, wait);
  }
  function seen() {
    clearTimeout(timer);
    if (!document.hidden) turn();
  }
  document.addEventListener("visibilitychange", seen);
  turn();
  return () => {
    isOver = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}
