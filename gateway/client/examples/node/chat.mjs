// One streamed, moderated call:
//
//     npm install
//     node chat.mjs "Write a short poem about the sea"

import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const protos = fileURLToPath(new URL("../../../../proto", import.meta.url));
const { atelier } = grpc.loadPackageDefinition(
  loadSync("atelier/gateway/v1/gateway.proto", { includeDirs: [protos], keepCase: true, enums: String, oneofs: true }),
);

const endpoint = (process.env.ATELIER_ENDPOINT ?? "http://127.0.0.1:50051").replace("http://", "");
const prompt = process.argv.slice(2).join(" ") || "Write a short poem about the sea";

const gateway = new atelier.gateway.v1.GatewayService(endpoint, grpc.credentials.createInsecure());
const events = gateway.StreamChat(
  { messages: [{ role: "ROLE_USER", content: prompt }] },
  { deadline: Date.now() + 120_000 },
);
events.on("data", ({ event, delta, verdict, completion }) => {
  if (event === "delta") process.stdout.write(delta.text);
  if (event === "verdict") console.log(`\n[${verdict.action}]`);
  if (event === "completion") console.log(`\n[${completion.finish_reason}]`);
});
events.on("error", (error) => {
  console.error(`error: ${error.details} (${grpc.status[error.code]})`);
  process.exitCode = 1;
});
events.on("end", () => gateway.close());
