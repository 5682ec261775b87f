package sandbox

import (
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }
