// Lists the network interfaces, as servers do that announce themselves: through netlink.
const os = require('os');

try {
  const found = Object.keys(os.networkInterfaces());
  if (!found.includes('lo')) {
    throw new Error(`only: ${found}`);
  }
  console.log('all is well');
} catch (error) {
  console.error(String(error));
  process.exitCode = 1;
}
