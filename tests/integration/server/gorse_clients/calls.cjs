// Makes calls of gorsejs: reads [[method, arguments], ...], writes what each gave, in JSON.
// Run by test_gorse_clients.py as: node calls.cjs FOLDER URL KEY, with gorsejs in FOLDER.
const { createRequire } = require("node:module");
const { Gorse, GorseException } = createRequire(process.argv[2] + "/")("gorsejs");

async function main() {
  const client = new Gorse({ endpoint: process.argv[3], secret: process.argv[4] });
  const found = [];
  for (const [method, given] of JSON.parse(require("node:fs").readFileSync(0, "utf8"))) {
    try {
      found.push((await client[method](...given)) ?? null);
    } catch (error) {
      if (!(error instanceof GorseException)) throw error;
      found.push({ status: error.code });
    }
  }
  console.log(JSON.stringify(found));
}

main();
