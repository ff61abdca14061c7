untrusted comment: minisign
