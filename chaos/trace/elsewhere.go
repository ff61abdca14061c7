//go:build !linux || (!amd64 && !arm64)

package trace

import "context"

func run(context.Context, Command) (End, error) { return End{}, ErrUnsupported }
