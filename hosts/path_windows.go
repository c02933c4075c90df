package hosts

import (
	"path/filepath"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Where Windows is told where the hosts file is (Tcpip parameter DataBasePath),
// below HKEY_LOCAL_MACHINE.
const (
	parametersKey  = `SYSTEM\CurrentControlSet\Services\Tcpip\Parameters`
	databaseValue  = "DataBasePath"
	databaseNormal = `drivers\etc`
)

// SystemPath is the hosts file that the resolver reads: in the directory that
// the registry names, or in the one where it usually is.
func SystemPath() string {
	if dir := databaseDir(); dir != "" {
		return filepath.Join(dir, "hosts")
	}
	system, err := windows.GetSystemDirectory()
	if err != nil {
		system = `C:\Windows\System32`
	}
	return filepath.Join(system, databaseNormal, "hosts")
}

// databaseDir is empty if the registry names no directory by its full path.
func databaseDir() string {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, parametersKey, registry.QUERY_VALUE)
	if err != nil {
		return ""
	}
	defer key.Close()
	text, kind, err := key.GetStringValue(databaseValue)
	if err != nil {
		return ""
	}
	if kind == registry.EXPAND_SZ {
		if text, err = registry.ExpandString(text); err != nil {
			return ""
		}
	}
	if !filepath.IsAbs(text) {
		return ""
	}
	return filepath.Clean(text)
}
