package managedconfig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// MaxFileSize is the size in bytes above which a file is refused. A full
// managed file of the product has about 10 KiB.
const MaxFileSize = 1 << 20

// ReadFile reads a configuration file whole. An absent file gives nil and no
// error; an empty one gives bytes that are not nil. Symlinks are followed, as
// configuration management swaps files that way, but one that leads nowhere is
// an error: somebody meant a file to be there.
//
// Every error is an *Error. What is no regular file is refused without waiting
// for it (opening a FIFO would block), and so is what is larger than MaxFileSize.
func ReadFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if _, linkErr := os.Lstat(path); errors.Is(linkErr, fs.ErrNotExist) {
			return nil, nil
		}
	}
	if err != nil {
		return nil, unreadable(path, "the file cannot be opened", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(path, "the file cannot be examined", err)
	}
	if !info.Mode().IsRegular() {
		return nil, unreadable(path, "it is no regular file", nil)
	}
	// One byte more than is allowed, so that a larger file is noticed, not cut.
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, unreadable(path, "the file cannot be read", err)
	}
	if len(data) > MaxFileSize {
		return nil, tooLarge(path)
	}
	return data, nil
}

func unreadable(path, problem string, cause error) *Error {
	return &Error{File: path, Problem: problem, Err: cause,
		Hint: "make it a regular file that the user of the agent may read, for example with mode 0644, or remove it"}
}

func tooLarge(path string) *Error {
	return &Error{File: path, Problem: fmt.Sprintf("the file is larger than %d bytes", MaxFileSize),
		Hint: "put only configuration into the file"}
}
