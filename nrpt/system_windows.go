package nrpt

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	userenv = windows.NewLazySystemDLL("userenv.dll")
	dnsapi  = windows.NewLazySystemDLL("dnsapi.dll")

	// Windows 10 and later; Windows as LocalSystem only.
	generateGPNotification = userenv.NewProc("GenerateGPNotification")
	refreshPolicyEx        = userenv.NewProc("RefreshPolicyEx")
	registerGPNotification = userenv.NewProc("RegisterGPNotification")
	unregisterGP           = userenv.NewProc("UnregisterGPNotification")
	dnsFlushResolverCache  = dnsapi.NewProc("DnsFlushResolverCache")
)

const (
	machinePolicy = 1 // TRUE, the first argument of all of them
	forceRefresh  = 1 // RP_FORCE
	// errNoEndpoint is EPT_S_NOT_REGISTERED, errNoEndpointHRESULT the same in
	// other clothes: the policy service does not run, which harms nobody.
	errNoEndpoint        = syscall.Errno(1753)
	errNoEndpointHRESULT = syscall.Errno(0x800706D9)
)

// notifiedBy is what the notification names as its product.
const notifiedBy = "Causeway"

// NotifyPolicy implements System. It says that policy changed, which talks to
// nobody outside; only where Windows lacks that it has policy applied anew, which
// may wait for a domain controller. Neither is in Wine.
func (r *Registry) NotifyPolicy() error {
	if generateGPNotification.Find() == nil {
		product, err := windows.UTF16PtrFromString(notifiedBy)
		if err != nil {
			return err
		}
		ok, _, err := generateGPNotification.Call(machinePolicy, uintptr(unsafe.Pointer(product)), 0)
		return boolError("GenerateGPNotification", ok, err)
	}
	if refreshPolicyEx.Find() == nil {
		ok, _, err := refreshPolicyEx.Call(machinePolicy, forceRefresh)
		return boolError("RefreshPolicyEx", ok, err)
	}
	return errors.New("this system has neither GenerateGPNotification nor RefreshPolicyEx")
}

// FlushCache implements System.
func (r *Registry) FlushCache() error {
	if err := dnsFlushResolverCache.Find(); err != nil {
		return err
	}
	ok, _, err := dnsFlushResolverCache.Call()
	return boolError("DnsFlushResolverCache", ok, err)
}

// boolError makes an error of a BOOL and of the last error, which says nothing
// after a success.
func boolError(function string, ok uintptr, last error) error {
	if ok != 0 || errors.Is(last, errNoEndpoint) || errors.Is(last, errNoEndpointHRESULT) {
		return nil
	}
	return fmt.Errorf("%s: %w", function, last)
}
