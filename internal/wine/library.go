package main

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
)

// Layout of the library: headers in the first 512 bytes of the file, and one
// section behind them, at this address in memory.
const (
	alignment   = 512
	sectionAddr = 0x1000
)

// exportDirectory begins the section (PE format, "Export Directory Table").
type exportDirectory struct {
	Flags, Time                           uint32
	Major, Minor                          uint16
	Name, Base, Addresses, Names          uint32
	AddressTable, NameTable, OrdinalTable uint32
}

// forwarders returns a 64-bit library without code that exports one name and
// has it found in another library, as "library.name".
func forwarders(library, name, target string) []byte {
	// Behind the directory: one address, one name, one ordinal, the texts. An
	// address within the section means a forwarder.
	const tables = 40
	const texts = sectionAddr + tables + 4 + 4 + 2
	libraryAt := uint32(texts)
	nameAt := libraryAt + uint32(len(library)) + 1
	targetAt := nameAt + uint32(len(name)) + 1
	var section bytes.Buffer
	put(&section, exportDirectory{
		Name: libraryAt, Base: 1, Addresses: 1, Names: 1,
		AddressTable: sectionAddr + tables, NameTable: sectionAddr + tables + 4, OrdinalTable: sectionAddr + tables + 8,
	}, targetAt, nameAt, uint16(0))
	section.WriteString(library + "\x00" + name + "\x00" + target + "\x00")
	size := uint32(section.Len())
	raw := (size + alignment - 1) &^ (alignment - 1)

	optional := pe.OptionalHeader64{
		Magic: 0x20b, SizeOfInitializedData: raw, ImageBase: 0x180000000, SectionAlignment: sectionAddr, FileAlignment: alignment,
		MajorOperatingSystemVersion: 6, MajorSubsystemVersion: 6, SizeOfImage: 2 * sectionAddr, SizeOfHeaders: alignment,
		Subsystem: pe.IMAGE_SUBSYSTEM_WINDOWS_CUI, SizeOfStackReserve: 1 << 20, SizeOfStackCommit: 4096, SizeOfHeapReserve: 1 << 20,
		SizeOfHeapCommit: 4096, NumberOfRvaAndSizes: 16,
	}
	optional.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_EXPORT] = pe.DataDirectory{VirtualAddress: sectionAddr, Size: size}
	var file bytes.Buffer
	file.WriteString("MZ")
	file.Write(make([]byte, 58))
	put(&file, uint32(64)) // where the PE header is
	file.WriteString("PE\x00\x00")
	put(&file, pe.FileHeader{
		Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, SizeOfOptionalHeader: uint16(binary.Size(optional)),
		Characteristics: pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LARGE_ADDRESS_AWARE | pe.IMAGE_FILE_DLL,
	}, optional, pe.SectionHeader32{
		Name: [8]uint8([]byte(".edata\x00\x00")), VirtualSize: size, VirtualAddress: sectionAddr, SizeOfRawData: raw, PointerToRawData: alignment,
		Characteristics: pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ,
	})
	file.Write(make([]byte, alignment-file.Len()))
	file.Write(section.Bytes())
	file.Write(make([]byte, raw-size))
	return file.Bytes()
}

// put cannot fail: a buffer takes everything, and the types have fixed sizes.
func put(buffer *bytes.Buffer, parts ...any) {
	for _, part := range parts {
		if err := binary.Write(buffer, binary.LittleEndian, part); err != nil {
			panic(err)
		}
	}
}
