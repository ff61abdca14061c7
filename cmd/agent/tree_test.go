package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// treeOf lists everything below dir: mode, owner and links, and of files the
// inode and the SHA-256, too. Under the empty name stands the directory itself.
// What is in the lock file does not count: it says who had the lock last.
func treeOf(ts *testscript.TestScript, dir string) map[string]string {
	tree := map[string]string{"": dir}
	ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		tree[path], err = describe(path)
		return err
	}))
	return tree
}

func describe(path string) (string, error) {
	var stat syscall.Stat_t
	info, err := os.Lstat(path)
	if err == nil {
		err = syscall.Lstat(path, &stat)
	}
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s, user %d", info.Mode(), stat.Uid)
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return text + ", to " + target, err
	case info.Mode().IsRegular() && info.Name() != "lock":
		data, err := os.ReadFile(path)
		if os.IsPermission(err) {
			return text + ", not readable", nil
		}
		return fmt.Sprintf("%s, inode %d, sha256 %x", text, stat.Ino, sha256.Sum256(data)), err
	}
	return text, nil
}

// eachOf calls do for everything below the directory in args, with the number
// of the user in args.
func eachOf(ts *testscript.TestScript, args []string, do func(path string, uid int) error) {
	uid, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(filepath.WalkDir(ts.MkAbs(args[1]), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return do(path, uid)
	}))
}
