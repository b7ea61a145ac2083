// Holds objects of custom kinds against the schemas that their projects publish. The validator of a kind refuses what is missing or
// wrong; what is unknown it lets pass, as an API server would drop it, so the types of the kind refuse that.
//
// Reads a JSON array of {place, document} on standard input, prints one line per finding, and exits with 1 if there is one. It lies
// where package.json was installed.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

const PACKAGES = {
  "cert-manager.io": "@kubernetes-models/cert-manager",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};

const findings = [];
const typed = [];
for (const { place, document } of JSON.parse(readFileSync(0, "utf8"))) {
  const [group, version] = document.apiVersion.split("/");
  if (!(group in PACKAGES)) {
    findings.push(`${place}: no schema is known for ${document.apiVersion}`);
    continue;
  }
  const module = `${PACKAGES[group]}/${group}/${version}/${document.kind}`;
  let models;
  try {
    models = await import(module);
  } catch (error) {
    findings.push(`${place}: ${module}: ${error.message}`);
    continue;
  }
  try {
    new models[document.kind](document).validate();
  } catch (error) {
    findings.push(`${place}: ${error.message}`);
  }
  typed.push({ place, document, module });
}

const directory = mkdtempSync(join(import.meta.dirname, "typed-"));
try {
  const files = typed.map(({ document, module }, number) => {
    const file = join(directory, `${number}.ts`);
    const text = JSON.stringify(document, null, 1);
    writeFileSync(file, `import type { I${document.kind} } from "${module}";\nexport const it: I${document.kind} = ${text};\n`);
    return file;
  });
  const program = ts.createProgram(files, {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    noEmit: true,
    skipLibCheck: true,
    strict: true,
    types: [],
  });
  for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
    const place = typed[files.indexOf(diagnostic.file?.fileName)]?.place ?? "types";
    findings.push(`${place}: ${ts.flattenDiagnosticMessageText(diagnostic.messageText, " ")}`);
  }
} finally {
  rmSync(directory, { recursive: true });
}

for (const finding of findings) console.log(finding);
process.exitCode = findings.length ? 1 : 0;
