package nft

import (
	"slices"

	"github.com/fairlead/fairlead/nft/mark"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// firstRegister is the first of sixteen registers of four bytes each. No
// statement needs what another has loaded, so each begins with it.
const firstRegister = unix.NFT_REG32_00

// encoder collects the expressions of one rule.
type encoder struct {
	batch       *batch
	expressions [][]byte
	met         []need // conditions that the rule has stated already
	err         error
}

func (e *encoder) add(x expr.Any) {
	data, err := expr.Marshal(unix.NFPROTO_INET, x)
	e.append(data, err)
}

func (e *encoder) append(data []byte, err error) {
	if err != nil && e.err == nil {
		e.err = err
	}
	e.expressions = append(e.expressions, data)
}

// addOriginal loads an address of the flow's original direction. It is spelled
// out here because expr.Ct sends no direction with these keys.
func (e *encoder) addOriginal(key, register uint32) {
	e.append(attributeBytes(func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_EXPR_NAME, "ct")
		nest(ae, unix.NFTA_EXPR_DATA, func(ae *netlink.AttributeEncoder) {
			ae.Uint32(unix.NFTA_CT_DREG, register)
			ae.Uint32(unix.NFTA_CT_KEY, key)
			ae.Uint8(unix.NFTA_CT_DIRECTION, 0)
		})
	}))
}

// anonymous declares the set that the rule's next look-up uses.
func (e *encoder) anonymous(s set) (name string, id uint32) { return e.batch.anonymous(s) }

// load reads the field into the first register, if what it needs is there.
func (e *encoder) load(f field) {
	for _, n := range f.needs {
		if slices.ContainsFunc(e.met, n.same) {
			continue
		}
		e.met = append(e.met, n)
		e.add(&expr.Meta{Key: n.key, Register: firstRegister})
		e.add(&expr.Cmp{Op: expr.CmpOpEq, Register: firstRegister, Data: n.value})
	}
	f.load(e, firstRegister)
}

func (e *encoder) compare(f field, op expr.CmpOp, with []byte) {
	e.load(f)
	e.add(&expr.Cmp{Op: op, Register: firstRegister, Data: with})
}

// remark replaces our bits of a mark: load, change, store.
func (e *encoder) remark(f field, m uint32, store expr.Any) {
	e.load(f)
	e.add(&expr.Bitwise{
		SourceRegister: firstRegister,
		DestRegister:   firstRegister,
		Len:            f.size,
		Mask:           binaryutil.NativeEndian.PutUint32(^mark.Mask),
		Xor:            binaryutil.NativeEndian.PutUint32(m),
	})
	e.add(store)
}
