// Counts texts by somebody else's word: one JSON string a line in, `[encoding, segments]` out.
// Its argument is the package's directory.
const { SegmentedMessage } = require(process.argv[2]);

require('readline').createInterface({ input: process.stdin }).on('line', line => {
  const counted = new SegmentedMessage(JSON.parse(line));
  process.stdout.write(`${JSON.stringify([counted.encodingName, counted.segmentsCount])}\n`);
});
