// A receiver of webhooks in Node, with its standard library alone. Prints its URL.
//
// With the argument "faulty" it has two faults: it looks at the first signature only, and it waits between looking
// for an execution and noting it, as with a database.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const isFaulty = process.argv[2] === "faulty";
const key = Buffer.from(process.env.WEBHOOK_SECRET.replace("whsec_", ""), "base64");
const seen = new Set();

function isGenuine(headers, content) {
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300)) return false;
  const hmac = createHmac("sha256", key).update(`${headers["webhook-id"]}.${timestamp}.`).update(content);
  const expected = Buffer.from(`v1,${hmac.digest("base64")}`);
  const signatures = (headers["webhook-signature"] ?? "").split(" ");
  return signatures.slice(0, isFaulty ? 1 : undefined).some((each) => {
    const found = Buffer.from(each);
    return found.length === expected.length && timingSafeEqual(found, expected);
  });
}

async function isNew(name) {
  if (seen.has(name)) return false;
  if (isFaulty) await sleep(100);
  seen.add(name);
  return true;
}

async function callBack(url, body) {
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    await answer.text();
    return { status: answer.status, retryAfter: Number(answer.headers.get("retry-after") ?? 0) };
  } catch {
    return { status: 0, retryAfter: 0 };
  }
}

async function work(job) {
  const until = Date.now() + secondsIn(job.payload) * 1000;
  while (Date.now() < until) {
    await sleep(Math.min(until - Date.now(), job.heartbeat_interval_seconds * 500));
    const { status } = await callBack(job.callback_url, { status: "processing" });
    if (status === 410) return;
  }
  for (const pause of [1, 1, 2, 4, 8, 8, 16]) {
    const { status, retryAfter } = await callBack(job.callback_url, { status: "success", summary: "done" });
    if (status >= 200 && status < 500 && status !== 429) return;
    await sleep(Math.max(pause, retryAfter) * 1000);
  }
}

function secondsIn(payload) {
  try {
    return JSON.parse(payload).seconds;
  } catch {
    return 0.1;
  }
}

async function receive(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const content = Buffer.concat(parts);
  if (!isGenuine(request.headers, content)) return 401;
  const job = JSON.parse(content);
  if (!job.test && (await isNew(`${job.execution_id} ${job.attempt}`))) work(job);
  return 202;
}

const server = createServer(async (request, response) => {
  response.writeHead(await receive(request).catch(() => 500)).end();
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/jobs/nightly`));
