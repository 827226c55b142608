// Clients for Node, at their usual interfaces: the base URL and the key are all that is set.
import OpenAI from "openai";
import { createOpenAI } from "@ai-sdk/openai";
import { Agent, OpenAIProvider, Runner, setTracingDisabled } from "@openai/agents";
import { generateText, jsonSchema, streamText, tool } from "ai";

const [baseURL, apiKey, nowhere] = process.argv.slice(2);
const messages = [{ role: "user", content: "Say hello." }];
const client = new OpenAI({ baseURL, apiKey, maxRetries: 2 });
const router = createOpenAI({ baseURL, apiKey });
const said = {};

said.models = (await client.models.list()).data.map((it) => it.id);
const chat = await client.chat.completions.create({ model: "auto", messages });
said.chat = chat.choices[0].message.content;
said.chatStream = "";
for await (const it of await client.chat.completions.create({ model: "auto", messages, stream: true })) {
  said.chatStream += it.choices[0].delta.content ?? ""; // there is always a choice
}
const { data, response } = await client.chat.completions
  .create({ model: "large", messages })
  .withResponse();
said.entry = response.headers.get("policy-router-entry");
said.entryModel = data.model;
const answer = await client.responses.create({ model: "responder", input: "Say hello." });
said.response = answer.output_text;
try {
  await client.chat.completions.create({ model: "huge", messages });
} catch (problem) {
  said.refused = { status: problem.status, code: problem.code };
}
said.aiChat = (await generateText({ model: router.chat("auto"), prompt: "Say hello." })).text;
said.aiResponse = (await generateText({ model: router("responder"), prompt: "Say hello." })).text;
said.aiStream = await streamText({ model: router.chat("auto"), prompt: "Say hello." }).text;
const look = tool({
  description: "Looks.",
  inputSchema: jsonSchema({ type: "object", properties: { at: { type: "string" } } }),
});
const called = await generateText({
  model: router.chat("auto"),
  prompt: "Call the tool.",
  tools: { look },
});
said.aiTool = called.toolCalls.map((it) => [it.toolName, it.input]);
setTracingDisabled(true);
const agent = (model) => new Agent({ name: "Greeter", instructions: "Be brief.", model });
const chats = new Runner({ modelProvider: new OpenAIProvider({ baseURL, apiKey, useResponses: false }) });
const responses = new Runner({ modelProvider: new OpenAIProvider({ baseURL, apiKey }) });
said.agentChat = (await chats.run(agent("auto"), "Say hello.")).finalOutput;
said.agentResponse = (await responses.run(agent("responder"), "Say hello.")).finalOutput;
try {
  await chats.run(agent("huge"), "Say hello.");
} catch (problem) {
  said.agentRefused = { status: problem.status, code: problem.code };
}
const stream = await client.chat.completions.create({ model: "auto", messages, stream: true });
for await (const _ of stream) break; // hangs up

// The service is away: no client has another address, or another key.
const failed = (call) => call.then(() => "answered", (problem) => problem.constructor.name);
const gone = new OpenAI({ baseURL: nowhere, apiKey, maxRetries: 0 });
const far = createOpenAI({ baseURL: nowhere, apiKey }).chat("auto");
const provider = new OpenAIProvider({ openAIClient: gone, useResponses: false });
said.away = await Promise.all([
  failed(gone.chat.completions.create({ model: "auto", messages })),
  failed(generateText({ model: far, prompt: "Say hello.", maxRetries: 0 })),
  failed(new Runner({ modelProvider: provider }).run(agent("auto"), "Say hello.")),
]);
console.log(JSON.stringify(said));
