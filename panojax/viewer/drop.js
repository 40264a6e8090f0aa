// The page's own part, beside viser's: dropped or chosen photos go to the server, a click in the gallery shows a head.
(() => {
  "use strict";
  const PART = 1 << 18; // bytes of one message
  const AHEAD = 1 << 22; // bytes that may wait to be sent

  const home = () => document.querySelector("[data-panojax-window]");
  const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

  function ask(request, answer) {
    const address = new URL("page", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.search = "";
    const socket = new WebSocket(address);
    socket.onopen = () => socket.send(JSON.stringify({ window: home().dataset.panojaxWindow, ...request }));
    socket.onmessage = ({ data }) => answer(JSON.parse(data), socket);
  }

  async function stream(file, socket) {
    for (let start = 0; start < file.size; start += PART) {
      const part = await file.slice(start, start + PART).arrayBuffer();
      while (socket.readyState === WebSocket.OPEN && socket.bufferedAmount > AHEAD) await wait(20);
      if (socket.readyState !== WebSocket.OPEN) return;
      socket.send(part);
    }
  }

  function send(list) {
    const files = [...list];
    if (!home() || !files.length) return;
    const told = files.map(({ name, size }) => ({ name, size }));
    // What cannot be read, such as a folder, is an empty text, which the server refuses.
    ask({ files: told }, ({ next }, socket) => stream(files[next], socket).catch(() => socket.send("")));
  }

  function choose() {
    const input = document.createElement("input");
    Object.assign(input, { type: "file", multiple: true, accept: "image/*", onchange: () => send(input.files) });
    input.click();
  }

  const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    send(event.dataTransfer.files);
  });
  addEventListener("click", (event) => {
    const head = event.target.closest?.("[data-panojax-head]");
    if (head) ask({ show: Number(head.dataset.panojaxHead) }, () => {});
    else if (event.target.closest?.("[data-panojax-drop]")) choose();
  });
})();
