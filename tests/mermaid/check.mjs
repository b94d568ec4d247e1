// Lets Mermaid parse files: node check.mjs FOLDER FILE...
// FOLDER has the packages mermaid and jsdom in its node_modules (`make tools`).
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, ...files] = process.argv.slice(2);
const packages = resolve(folder, "node_modules");
const { JSDOM } = createRequire(pathToFileURL(`${packages}/`))("jsdom");
const { window } = new JSDOM("<!DOCTYPE html><body></body>");
Object.assign(globalThis, { window, document: window.document });
const core = pathToFileURL(`${packages}/mermaid/dist/mermaid.core.mjs`);
const { default: mermaid } = await import(core);

for (const file of files) {
  try {
    const { diagramType } = await mermaid.parse(readFileSync(file, "utf8"));
    console.log(`${file}\t${diagramType}`);
  } catch (error) {
    console.log(`${file}\t${error.message}`);
    process.exitCode = 1;
  }
}
