// Command protogen compiles the .proto files of this module to Go without a
// system protoc: the compiler and both plugins are pinned in go.mod, so that
// `make generate` gives the same bytes on every machine.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	files, err := filepath.Glob("proto/*/*.proto")
	if err != nil || len(files) == 0 {
		return fmt.Errorf("find proto files: %d found in proto/: %w", len(files), err)
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(ctx, files...)
	if err != nil {
		return fmt.Errorf("compile proto files: %w", err)
	}
	request := pluginpb.CodeGeneratorRequest{
		FileToGenerate: files,
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      dependenciesFirst(compiled),
	}
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-go-drpc"} {
		if err := generate(ctx, plugin, &request); err != nil {
			return err
		}
	}
	return nil
}

// dependenciesFirst lists every file that the compiled ones need, each after
// its imports, as the plugin protocol demands.
func dependenciesFirst(compiled linker.Files) []*descriptorpb.FileDescriptorProto {
	var sorted []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var visit func(protoreflect.FileDescriptor)
	visit = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			visit(file.Imports().Get(i).FileDescriptor)
		}
		sorted = append(sorted, protodesc.ToFileDescriptorProto(file))
	}
	for _, file := range compiled {
		visit(file)
	}
	return sorted
}

func generate(ctx context.Context, plugin string, request *pluginpb.CodeGeneratorRequest) error {
	input, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request for %s: %w", plugin, err)
	}
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run %s: %w", plugin, err)
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(output, &response); err != nil {
		return fmt.Errorf("decode answer of %s: %w", plugin, err)
	}
	if response.Error != nil {
		return fmt.Errorf("run %s: %s", plugin, response.GetError())
	}
	for _, file := range response.File {
		if !strings.HasPrefix(file.GetName(), "proto/") {
			return fmt.Errorf("write %s: outside proto/", file.GetName())
		}
		if err := os.WriteFile(file.GetName(), []byte(file.GetContent()), 0o644); err != nil {
			return fmt.Errorf("write generated file: %w", err)
		}
	}
	return nil
}
