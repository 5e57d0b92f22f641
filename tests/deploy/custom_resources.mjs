// Validates custom resources (a JSON list on stdin) with the validators that @kubernetes-models makes
// of their definitions. Argument: the folder that the packages were installed into.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const packages = {
  "argoproj.io": "@kubernetes-models/argo-rollouts",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "keda.sh": "@kubernetes-models/keda",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
  "networking.istio.io": "@kubernetes-models/istio",
};
let wrong = 0;
const resources = JSON.parse(readFileSync(0, "utf8"));
for (const resource of resources) {
  const [group] = resource.apiVersion.split("/");
  const inside = join(packages[group], resource.apiVersion, `${resource.kind}.js`);
  const path = join(process.argv[2], "node_modules", inside);
  const model = await import(pathToFileURL(path));
  try {
    new model[resource.kind](resource).validate();
  } catch (error) {
    wrong += 1;
    console.error(`${resource.kind} ${resource.metadata.name}: ${error.message}`);
  }
}
if (wrong) process.exit(1);
console.log(`${resources.length} valid`);
