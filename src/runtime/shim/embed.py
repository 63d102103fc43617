#!/usr/bin/env python3
"""Writes a binary as a C++ byte array: embed.py INPUT OUTPUT."""
import sys

data = open(sys.argv[1], 'rb').read()
rows = []
for start in range(0, len(data), 24):
    rows.append(''.join('%d,' % byte for byte in data[start:start + 24]))
with open(sys.argv[2], 'w') as out:
    out.write('// Made by embed.py from the linked shim.\n')
    out.write('alignas(16) constexpr unsigned char kShimBytes[] = {\n' + '\n'.join(rows) + '\n};\n')
