package main

import (
	"bytes"
	"debug/macho"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A slice of a universal file begins at a multiple of 1<<fatAlign: the page
// size of Apple silicon, 16 KiB.
const fatAlign = 14

// fat joins programs for different processors to one universal file (Mach-O
// fat header: big-endian; magic, count, then one record of 20 bytes each).
func fat(programs [][]byte) ([]byte, error) {
	type record struct{ CPU, Sub, Offset, Size, Align uint32 }
	var records []record
	seen := map[macho.Cpu]bool{}
	offset := uint64(1 << fatAlign)
	for _, program := range programs {
		file, err := macho.NewFile(bytes.NewReader(program))
		if err != nil {
			return nil, fmt.Errorf("read Mach-O: %w", err)
		}
		if seen[file.Cpu] {
			return nil, fmt.Errorf("two programs are for %s", file.Cpu)
		}
		seen[file.Cpu] = true
		if offset+uint64(len(program)) > math.MaxUint32 {
			return nil, errors.New("larger than 4 GiB")
		}
		records = append(records, record{uint32(file.Cpu), file.SubCpu, uint32(offset), uint32(len(program)), fatAlign})
		offset = (offset + uint64(len(program)) + 1<<fatAlign - 1) &^ (1<<fatAlign - 1)
	}
	var out bytes.Buffer
	// Writing fixed-size values to a buffer cannot fail.
	_ = binary.Write(&out, binary.BigEndian, []uint32{macho.MagicFat, uint32(len(records))})
	_ = binary.Write(&out, binary.BigEndian, records)
	for at, program := range programs {
		out.Write(make([]byte, int(records[at].Offset)-out.Len()))
		out.Write(program)
	}
	return out.Bytes(), nil
}
