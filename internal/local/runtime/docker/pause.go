package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// waitForever is the machine code of a program that only waits, by architecture: the pause system
// call, or ppoll without end where there is no pause, in a loop.
var waitForever = map[string]struct {
	machine uint16 // ELF's e_machine
	code    []byte
}{
	"amd64": {62, []byte{
		0xb8, 34, 0, 0, 0, // mov eax, pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp to the start
	}},
	"arm64": {183, words(
		0xd2800000, 0xd2800001, 0xd2800002, 0xd2800003, 0xd2800004, // mov x0…x4, 0
		0xd2800928, // mov x8, ppoll
		0xd4000001, // svc 0
		0x17fffff9, // b to the start
	)},
}

func words(list ...uint32) []byte {
	var b []byte
	for _, w := range list {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// pauseProgram is an executable of one segment: the ELF header, one program header, the code.
func pauseProgram(arch string) ([]byte, error) {
	p, ok := waitForever[arch]
	if !ok {
		return nil, fmt.Errorf("not supported: an engine on %s", arch)
	}
	const base, headers = 0x400000, 64 + 56
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	size := uint64(headers + len(p.code))
	for _, field := range []any{
		uint16(2), p.machine, uint32(1), uint64(base + headers), uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0), // file header
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x10000), // load it all, readable and executable
	} {
		_ = binary.Write(&b, binary.LittleEndian, field) // a buffer takes everything
	}
	b.Write(p.code)
	return b.Bytes(), nil
}

// pauseImage is an image of that program and its name.
func pauseImage(arch string) (v1.Image, name.Tag, error) {
	program, err := pauseProgram(arch)
	if err != nil {
		return nil, name.Tag{}, err
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	for _, err := range []error{w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg}), second(w.Write(program)), w.Close()} {
		if err != nil {
			return nil, name.Tag{}, err
		}
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil })
	if err != nil {
		return nil, name.Tag{}, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, name.Tag{}, err
	}
	img, err = mutate.ConfigFile(img, withPlatform(img, arch))
	if err != nil {
		return nil, name.Tag{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, name.Tag{}, err
	}
	tag, err := name.NewTag("slipway.local/pause:" + digest.Hex[:12])
	return img, tag, err
}

func second(_ int, err error) error { return err }

func withPlatform(img v1.Image, arch string) *v1.ConfigFile {
	cfg, err := img.ConfigFile()
	if err != nil { // an image made in memory always has one
		cfg = &v1.ConfigFile{}
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", arch
	cfg.Config.Entrypoint = []string{"/pause"}
	return cfg
}

// loadPause puts the image into the engine, unless it is there, and returns its name.
func (e *engine) loadPause(ctx context.Context) (string, error) {
	img, tag, err := pauseImage(e.arch)
	if err != nil {
		return "", err
	}
	if _, err := e.api.ImageInspect(ctx, tag.String()); err == nil {
		return tag.String(), nil
	}
	if err := e.load(ctx, tag, img); err != nil {
		return "", fmt.Errorf("loading the image of the network's container: %w", err)
	}
	return tag.String(), nil
}
